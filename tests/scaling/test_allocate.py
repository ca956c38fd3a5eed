"""Allocation: the exact optimum, its published values, a search that knows nothing of them."""

import numpy as np
import pytest
from encore.scaling import allocate, analysis, laws
from encore.scaling.runs import Points
from hypothesis import given
from hypothesis import strategies as st

PUBLISHED = analysis.published_theta()
EQUAL_RATES = np.append(PUBLISHED[:5], np.log([10.0, 10.0]))


def best(theta: np.ndarray, flops: float, unique: float) -> allocate.Allocation:
    return allocate.allocate(laws.REPETITION, theta, np.array(flops), np.array(unique))


def test_published_predictions() -> None:
    points = Points(np.array([6.34e9, 8.67e9]), np.array([242e9, 178e9]), np.array([25e9, 25e9]))
    losses = allocate.predict(laws.REPETITION, PUBLISHED, points)[0]
    assert losses == pytest.approx([2.22564, 2.22696], abs=5e-6)


@pytest.mark.parametrize(
    "theta,params,tokens,epochs,loss",
    [
        (PUBLISHED, 7.026159072e9, 2.372087864e11, 9.488351457, 2.222129274871),
        (EQUAL_RATES, 9.218325739e9, 1.807992811e11, 7.231971245, 2.217266619447),
    ],
)
def test_the_exact_optimum(
    theta: np.ndarray, params: float, tokens: float, epochs: float, loss: float
) -> None:
    answer = best(theta, 1e22, 25e9)
    assert answer.params[0] == pytest.approx(params, rel=1e-9)
    assert answer.tokens[0] == pytest.approx(tokens, rel=1e-9)
    assert answer.epochs[0] == pytest.approx(epochs, rel=1e-9)
    assert answer.loss[0] == pytest.approx(loss, rel=1e-12)


def test_equal_rates_and_exponents_share_the_excess_equally() -> None:
    """x = y = √K − 1, the one closed form."""
    share = allocate.universal_share(
        np.log([52.301408]), np.array([10.0]), np.array([10.0]), np.array([0.35]), np.array([0.35])
    )
    assert share == pytest.approx([0.5], abs=1e-12)


BUDGETS = st.floats(np.log(1e18), np.log(1e25))
UNIQUES = st.floats(np.log(1e8), np.log(1e13))


@given(budget=BUDGETS, unique=UNIQUES, r_d=st.floats(-1, 6), r_n=st.floats(-1, 6))
def test_no_other_split_of_the_budget_is_better(
    budget: float, unique: float, r_d: float, r_n: float
) -> None:
    theta = np.append(PUBLISHED[:5], [r_d, r_n])
    flops, tokens = np.exp(budget), np.exp(unique)
    answer = best(theta, flops, tokens)
    assert 6 * answer.params[0] * answer.tokens[0] == pytest.approx(flops)
    sizes = answer.params[0] * np.geomspace(0.1, 10, 401)
    points = Points(sizes, flops / 6 / sizes, np.full(401, tokens))
    assert answer.loss[0] <= allocate.predict(laws.REPETITION, theta, points).min() + 1e-9


@given(budget=BUDGETS, unique=UNIQUES)
def test_the_search_for_other_laws_finds_what_the_formula_gives(
    budget: float, unique: float
) -> None:
    exact = best(PUBLISHED, np.exp(budget), np.exp(unique))
    log_size = allocate._searched_size(
        laws.REPETITION,
        PUBLISHED[None],
        np.array([budget - np.log(6)]),
        np.array([unique]),
    )
    point = Points(np.exp(log_size), np.exp(budget) / 6 / np.exp(log_size), np.exp([unique]))
    searched = allocate.predict(laws.REPETITION, PUBLISHED, point)[0, 0]
    assert searched == pytest.approx(exact.loss[0], rel=1e-9)


def test_a_small_budget_is_chinchillas_and_repeats_nothing() -> None:
    small = best(PUBLISHED, 1e19, 25e9)
    chinchilla = allocate.allocate(laws.CHINCHILLA, PUBLISHED[:5], np.array(1e19), np.array(25e9))
    assert small.epochs[0] == 1
    assert small.params[0] == pytest.approx(chinchilla.params[0], rel=1e-6)


def test_more_compute_means_more_epochs_and_more_parameters() -> None:
    answer = allocate.allocate(
        laws.REPETITION, PUBLISHED, np.geomspace(1e20, 1e25, 200), np.array(25e9)
    )
    assert (np.diff(answer.epochs) >= 0).all() and (np.diff(answer.params) > 0).all()
    assert (np.diff(answer.loss) < 0).all()


@given(scale=st.floats(0.01, 100))
def test_the_frontier_does_not_depend_on_the_amount_of_data(scale: float) -> None:
    """Epochs against K: with α = β, K is C/(6 U_N U) and U_N grows as U."""
    first = best(PUBLISHED, 1e22, 25e9)
    other = best(PUBLISHED, 1e22 * scale**2, 25e9 * scale)
    assert other.epochs[0] == pytest.approx(first.epochs[0], rel=1e-9)
