"""Work that threads do ahead of its reader, in order and bounded: at most `workers` + 1 results
wait at a time.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")
_END = object()


def mapped(
    function: Callable[[S], T], items: Iterable[S], workers: int
) -> Generator[T, None, None]:
    """function(item) of each item, in the items' order, computed in `workers` threads."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # a reader that stops early must not wait for work that nobody will read
            pool.shutdown(cancel_futures=True)


def ahead(items: Generator[T, None, None]) -> Generator[T, None, None]:
    """The same items, the next ones computed in a thread while the caller works on one."""
    computed: Generator[Any, None, None] = mapped(
        lambda _: next(items, _END), itertools.repeat(None), 1
    )
    # both generators hold files or threads, which end here and not when they are collected
    with contextlib.closing(items), contextlib.closing(computed):
        yield from itertools.takewhile(lambda item: item is not _END, computed)
