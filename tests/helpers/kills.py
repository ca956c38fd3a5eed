"""Kill a function at random moments: it runs in a fork, so that nothing is imported again."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator


def kills(count: int, prepare: Callable[[], object], work: Callable[[], object]) -> Iterator[None]:
    """After each `prepare`, `work` that got a SIGKILL at a random moment; so often that `count`
    came before its end.
    """
    rng, longest = random.Random(0), _seconds(prepare, work)
    while count:
        prepare()
        if _killed(rng.uniform(0, longest), work):
            count -= 1
            longest *= 1.05
        else:
            longest *= 0.9
        yield


def _seconds(prepare: Callable[[], object], work: Callable[[], object]) -> float:
    """How long it takes when it is let alone."""
    prepare()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _killed(after_s: float, work: Callable[[], object]) -> bool:
    """Whether the kill came before its end."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
