"""Cross-validation: folds part the runs, twins stay together."""

import numpy as np
import pytest
from encore.errors import DataError
from encore.scaling import laws, runs, validation
from hypothesis import given
from hypothesis import strategies as st

PAPER = runs.of_paper()


@given(count=st.integers(2, 10), seed=st.integers(0, 1000))
def test_each_run_is_left_out_once_and_with_its_twins(count: int, seed: int) -> None:
    masks = validation.folds(PAPER, count, seed)
    assert (np.sum(masks, axis=0) == 1).all()
    keys = list(zip(PAPER.params, PAPER.tokens, PAPER.unique_tokens, strict=True))
    fold_of: dict[tuple[float, ...], set[int]] = {}
    for fold, mask in enumerate(masks):
        for index in np.nonzero(mask)[0]:
            fold_of.setdefault(keys[index], set()).add(fold)
    assert all(len(numbers) == 1 for numbers in fold_of.values())


def test_hold_outs_extrapolate() -> None:
    for name, mask in validation.hold_outs(PAPER).items():
        measure = {"large compute": PAPER.flops, "large models": PAPER.params}.get(
            name, PAPER.epochs
        )
        assert measure[mask].min() > measure[~mask].max()


def test_a_law_of_repetition_predicts_left_out_runs_better_than_chinchilla() -> None:
    scores = validation.cross_validate([laws.CHINCHILLA, laws.REPETITION], PAPER, count=3)
    by_law = {score.law: score for score in scores if score.split == "3 folds"}
    assert by_law["repetition"].rmse < by_law["chinchilla"].rmse
    assert by_law["repetition"].runs == len(PAPER)


def test_more_folds_than_runs_are_refused() -> None:
    with pytest.raises(DataError, match="cannot make 9 folds"):
        validation.folds(PAPER.subset(np.arange(4)), 9, 0)
