"""Kill a function at a random moment: it runs in a fork, so that nothing is imported again."""

import os
import random
import signal
import time
from collections.abc import Callable


def seconds(work: Callable[[], object]) -> float:
    """How long it takes when it is let alone."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def kill_within(longest_s: float, work: Callable[[], object], rng: random.Random) -> bool:
    """Start `work` in a fork and SIGKILL it after a random part of `longest_s`; whether it was still at work."""
    moment = rng.uniform(0, longest_s)
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(moment)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
