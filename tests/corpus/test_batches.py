"""Batches keep their parts together when cut; budgets take whole documents until reached."""

import pytest
from encore.corpus.batches import Batch, Batches, Budget, InputDigest, head
from encore.errors import DataError, UsageError
from hypothesis import given
from hypothesis import strategies as st

SOURCE = InputDigest("x.jsonl", 10, 10, "0" * 64)
BATCH = Batch(
    SOURCE,
    [b"a", b"b", b"c"],
    [b"A", b"B", b"C"],
    [(0, "before a"), (2, "before c"), (3, "after c")],
    7,
)


@pytest.mark.parametrize("count", range(4))
def test_the_first_and_the_rest_make_the_whole(count: int) -> None:
    first, rest = BATCH.first(count), BATCH.rest(count)
    assert first.texts + rest.texts == BATCH.texts
    assert (first.lines or []) + (rest.lines or []) == BATCH.lines
    assert first.skipped + [(i + count, reason) for i, reason in rest.skipped] == BATCH.skipped
    assert first.input_index == rest.input_index == 7


def test_rows_have_no_lines_however_they_are_cut() -> None:
    rows = Batch(SOURCE, [b"a", b"b"])
    assert rows.first(1).lines is rows.rest(1).lines is None


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=8), st.integers(1, 60))
def test_a_budget_is_reached_by_the_fewest_documents_that_do(
    batches: list[list[int]], amount: int
) -> None:
    budget = Budget(amount, "tokens")
    taken: list[int] = []
    for sizes in batches:
        assert not budget.reached
        taken += sizes[: budget.take(sizes)]
        if budget.reached:
            break
    whole = [size for sizes in batches for size in sizes]
    assert taken == whole[: len(taken)]
    assert budget.remaining == amount - sum(taken)
    if budget.reached:
        budget.check()
        assert sum(taken[:-1]) < amount <= sum(taken)
    else:
        assert taken == whole
        with pytest.raises(
            DataError, match=f"has {sum(whole)} tokens, fewer than the {amount} asked"
        ):
            budget.check()


def test_without_an_amount_everything_is_taken() -> None:
    assert list(
        head((one for one in [BATCH, BATCH]), Budget(None, "tokens"), lambda _: [1, 1, 1])
    ) == [BATCH, BATCH]


def test_nothing_is_read_beyond_what_is_needed() -> None:
    def batches() -> Batches:
        yield BATCH
        raise AssertionError("the second batch is not needed")

    taken = list(head(batches(), Budget(3, "documents"), lambda _: [1, 1, 1]))
    assert [batch.texts for batch in taken] == [[b"a", b"b", b"c"]]
    assert taken[0].skipped == [(0, "before a"), (2, "before c")], (
        "what follows the last one does not count"
    )


@pytest.mark.parametrize("amount", [0, -1])
def test_nothing_cannot_be_asked_for(amount: int) -> None:
    with pytest.raises(UsageError, match=f"{amount} documents cannot be taken"):
        Budget(amount, "documents")
