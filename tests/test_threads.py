"""Threads ahead of their reader: the same items in the same order, few at a time, errors where they
belong.
"""

import threading
from collections.abc import Generator

import pytest
from encore.threads import ahead, mapped
from hypothesis import given, settings
from hypothesis import strategies as st


def counting(upto: int, made: list[int]) -> Generator[int, None, None]:
    try:
        for i in range(upto):
            made.append(i)
            yield i
    finally:
        made.append(-1)


@settings(deadline=None)
@given(st.lists(st.integers(), max_size=20), st.integers(1, 5))
def test_order_is_kept(items: list[int], workers: int) -> None:
    assert list(mapped(lambda item: item + 1, items, workers)) == [item + 1 for item in items]
    assert list(ahead(item for item in items)) == items


def test_only_a_few_are_computed_ahead() -> None:
    made: list[int] = []
    items = ahead(counting(1000, made))
    assert next(items) == 0
    items.close()
    assert len(made) < 5
    assert made[-1] == -1, "the source is closed as well"


def test_workers_work_at_once() -> None:
    barrier = threading.Barrier(
        3, timeout=30
    )  # passes only when three calls are under way together
    assert list(mapped(lambda _: barrier.wait() < 3, range(6), 3)) == [True] * 6


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_after_what_went_before_it(workers: int) -> None:
    seen = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(mapped(lambda item: 6 // item, [3, 2, 1, 0, 5], workers))
    with pytest.raises(ZeroDivisionError):
        for item in ahead(6 // item for item in [3, 2, 1, 0, 5]):
            seen.append(item)
    assert seen[-3:] == [2, 3, 6]


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    items = mapped(str, counting(1000, []), 4)
    next(items)
    items.close()
    assert threading.active_count() == before
