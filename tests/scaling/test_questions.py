"""Questions to a fit: each answer put back gives what was asked for."""

import numpy as np
import pytest
from encore.errors import DataError
from encore.scaling import allocate, analysis, fit, laws, questions, runs
from encore.scaling.runs import Points
from hypothesis import given
from hypothesis import strategies as st

PAPER = runs.of_paper()
LAW = laws.REPETITION
PUBLISHED = analysis.published_theta()


@given(params=st.floats(1e8, 1e10), epochs=st.floats(0.2, 40))
def test_epochs_for_a_loss_reach_it(params: float, epochs: float) -> None:
    unique = 1e10
    point = Points(np.array([params]), np.array([unique * epochs]), np.array([unique]))
    loss = float(allocate.predict(LAW, PUBLISHED, point)[0, 0])
    assert questions.epochs_for(LAW, PUBLISHED, params, unique, loss) == pytest.approx(
        epochs, rel=1e-4
    )


def test_a_loss_that_no_epoch_reaches_is_refused_with_the_lowest() -> None:
    with pytest.raises(DataError, match="never reach a loss of 2 on 1e"):
        questions.epochs_for(LAW, PUBLISHED, 1e8, 1e9, 2.0)
    with pytest.raises(DataError, match="with all tokens fresh it is"):
        questions.unique_tokens_for(LAW, PUBLISHED, 1e20, 2.0)


def test_unique_tokens_for_a_loss_reach_it() -> None:
    tokens = questions.unique_tokens_for(LAW, PUBLISHED, 1e22, 2.2)
    best = allocate.allocate(LAW, PUBLISHED, np.array(1e22), np.array(tokens))
    assert best.loss[0] == pytest.approx(2.2, rel=1e-9)


def test_more_unique_tokens_are_never_worse() -> None:
    curve = questions.loss_by_unique_tokens(LAW, PUBLISHED, 1e22, np.geomspace(1e8, 1e12, 50))
    assert (np.diff(curve.loss) <= 1e-12).all()


@given(rate=st.floats(0.5, 1000), share=st.floats(0.01, 0.95))
def test_the_epoch_at_which_worth_falls_to_a_share(rate: float, share: float) -> None:
    epoch = questions.epoch_worth_less_than(rate, share)
    worth = questions.worth_of_epoch(rate, np.array([epoch]))[0]
    assert worth == pytest.approx(share) or (epoch == 2 and worth <= share)


@given(rate=st.floats(0.5, 1000), epochs=st.integers(1, 60))
def test_the_epochs_worths_add_up_to_the_effective_tokens(rate: float, epochs: int) -> None:
    total = questions.worth_of_epoch(rate, np.arange(1, epochs + 1)).sum()
    effective = laws.exponential(np.array([0.0]), np.log([epochs]), np.log([rate])).value
    assert total == pytest.approx(np.exp(effective[0]))


def test_a_budget_for_epochs_is_best_spent_on_them() -> None:
    flops = questions.compute_for_epochs(LAW, PUBLISHED, 25e9, 4.0)
    best = allocate.allocate(LAW, PUBLISHED, np.array(flops), np.array(25e9))
    assert best.epochs[0] == pytest.approx(4.0)


def test_regret_is_nothing_on_the_diagonal_and_never_negative() -> None:
    minima = fit.minima(fit.coordinates(LAW, analysis.published_base()), PAPER)
    table = questions.regrets(LAW, minima, 1e22, 25e9)
    assert np.diag(table.losses) == pytest.approx(0) and (table.losses > -1e-12).all()
    # the published rates advise 9.5 epochs where the lowest minimum advises 18
    assert table.allocations.epochs[[0, -1]] == pytest.approx([17.986, 9.483], rel=1e-3)


def test_the_allocation_depends_on_no_scale_of_the_losses() -> None:
    """E moves no optimum; more of R_D means more epochs and fewer parameters."""
    changes = questions.sensitivity(LAW, PUBLISHED, 1e22, 25e9)
    assert changes["E"][:2] == pytest.approx([0, 0], abs=1e-9) and changes["E"][2] > 0.5
    assert changes["R_D"][0] < 0 < changes["R_D"][1]
    assert changes["R_N"][0] > 0 > changes["R_N"][1]


@given(st.integers(0, len(PAPER) - 1), st.integers(0, len(PAPER) - 1), st.floats(0, 1))
def test_what_lies_between_two_runs_is_inside(first: int, second: int, share: float) -> None:
    logs = np.log([PAPER.params, PAPER.epochs, PAPER.unique_tokens]).T
    params, epochs, unique = np.exp(share * logs[first] + (1 - share) * logs[second])
    assert not questions.outside(PAPER, params, epochs * unique, unique)


@pytest.mark.parametrize("point", [(1e12, 1e11, 1e10), (1e9, 1e15, 1e9), (1e6, 1e13, 1e13)])
def test_what_no_run_is_near_to_is_outside(point: tuple[float, float, float]) -> None:
    assert questions.outside(PAPER, *point)


def test_a_law_without_that_decay_has_no_rate() -> None:
    with pytest.raises(DataError, match="no exponential decay"):
        questions.rate(laws.CHINCHILLA, PUBLISHED[:5])
