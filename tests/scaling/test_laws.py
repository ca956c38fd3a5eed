"""Laws: gradients against differences, limits that one law shares with another."""

import numpy as np
import pytest
from encore.scaling import laws, runs
from encore.scaling.laws import LAWS, Law
from encore.scaling.runs import Points
from hypothesis import given
from hypothesis import strategies as st

PAPER = runs.of_paper()
BASE = [6.2, 7.3, 0.62, 0.35, 0.37]
FREE = {"R_D": 2.5, "R_N": 1.4, "P": -6.0, "delta": 0.6, "kappa": 0.7}


def point_of(law: Law) -> np.ndarray:
    rest = [FREE[name] for name in law.names[5:]]
    return np.array([BASE + rest])


@pytest.mark.parametrize("name", LAWS)
def test_slopes_are_those_of_differences(name: str) -> None:
    law = LAWS[name]
    theta = point_of(law)
    _, slopes = law.evaluate(theta, PAPER)
    for index in range(theta.shape[1]):
        step = np.zeros_like(theta)
        step[0, index] = 1e-6
        above, _ = law.evaluate(theta + step, PAPER)
        below, _ = law.evaluate(theta - step, PAPER)
        assert slopes[0, index] == pytest.approx((above - below)[0] / 2e-6, rel=1e-5, abs=1e-5)


def test_the_paper_has_182_runs_in_its_fit() -> None:
    assert len(PAPER) == 182 and PAPER.epochs.min() >= 1


@given(params=st.floats(1e6, 1e12), unique=st.floats(1e6, 1e13), rate=st.floats(-3, 13))
def test_without_repetition_all_decays_are_chinchilla(
    params: float, unique: float, rate: float
) -> None:
    """One epoch of a model no larger than the best for its data: nothing decays."""
    size = laws.optimal_size(*np.array(BASE)[[0, 1, 3, 4], None, None], np.log([unique]))[0][0, 0]
    point = Points(np.array([min(params, np.exp(size))]), np.array([unique]), np.array([unique]))
    fresh, _ = laws.CHINCHILLA.evaluate(np.array([BASE]), point)
    for name in ("repetition", "data-only", "parameters-only", "geometric", "exponent"):
        law = LAWS[name]
        theta = np.array([BASE + [rate] * (len(law.parameters) - 5)])
        assert law.evaluate(theta, point)[0] == pytest.approx(fresh, rel=1e-9)


@given(epochs=st.floats(1, 1e4), rate=st.floats(-3, 13))
def test_repeats_never_count_more_than_fresh_tokens_nor_less_than_nothing(
    epochs: float, rate: float
) -> None:
    base, total = np.log(1e9), np.log(1e9 * epochs)
    for decay in (laws.exponential, laws.geometric):
        worth = decay(np.array([base]), np.array([total]), np.array([rate])).value[0]
        assert base - 1e-9 <= worth <= total + 1e-9
        limit = base + np.log1p(np.exp(rate))
        assert worth <= limit + 1e-9


def test_a_decay_without_end_is_none_at_all() -> None:
    theta = np.array([[*BASE, 25.0, 25.0]])
    repeated, _ = laws.REPETITION.evaluate(theta, PAPER)
    fresh, _ = laws.CHINCHILLA.evaluate(np.array([BASE]), PAPER)
    assert repeated == pytest.approx(fresh, abs=1e-4)


def test_a_penalty_of_nothing_is_chinchilla_and_of_one_epoch_too() -> None:
    theta = np.array([[*BASE, -600.0, 1.0, 1.0]])
    fresh, _ = laws.CHINCHILLA.evaluate(np.array([BASE]), PAPER)
    assert laws.PENALTY.evaluate(theta, PAPER)[0] == pytest.approx(fresh)
    single = PAPER.subset(PAPER.epochs == 1)
    theta[0, 5] = 3.0
    fresh, _ = laws.CHINCHILLA.evaluate(np.array([BASE]), single)
    assert laws.PENALTY.evaluate(theta, single)[0] == pytest.approx(fresh)
