"""Fits: the published minimum and its neighbours, other optimizers, what cannot be fitted."""

import numpy as np
import pytest
from encore.errors import DataError
from encore.scaling import analysis, fit, laws, runs
from encore.scaling.runs import Runs
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

PAPER = runs.of_paper()
# of the notebook, in single precision: cell 29's "Min Loss"
NOTEBOOK_LOSS = 0.015825936570763588


def published() -> fit.Coordinates:
    return fit.coordinates(laws.REPETITION, analysis.published_base())


def rates(minimum: fit.Minimum) -> tuple[float, float]:
    r_d, r_n = np.exp(minimum.theta[5:])
    return float(r_d), float(r_n)


def test_the_published_rates_are_one_of_five_minima_and_not_the_lowest() -> None:
    minima = fit.minima(published(), PAPER)
    assert [minimum.huber for minimum in minima] == sorted(minimum.huber for minimum in minima)
    pairs = [rates(minimum) for minimum in minima]
    # 15.387756 and 5.309743 are where single precision stopped
    assert pairs[-1] == pytest.approx((15.387756, 5.309743), rel=2e-3)
    assert minima[-1].huber == pytest.approx(NOTEBOOK_LOSS, rel=1e-6)
    assert minima[-1].huber <= NOTEBOOK_LOSS
    expected = [(95.365, 1.7059), (46.990, 2.3296), (52.173, 2.1971), (160.71, 1.4487)]
    assert pairs[:4] == [pytest.approx(pair, rel=1e-4) for pair in expected]
    assert minima[0].huber == pytest.approx(0.0158046625, rel=1e-8)


def test_each_minimum_is_one_for_another_method() -> None:
    space = published()
    for minimum in fit.minima(space, PAPER):
        center = space.free_of(minimum.theta)

        def height(free: np.ndarray) -> float:
            return 1e3 * float(fit.loss(space.law, space.theta(free[None]), PAPER)[0])

        ended = optimize.minimize(
            height,
            center,
            method="Nelder-Mead",
            options={
                "xatol": 1e-9,
                "fatol": 1e-13,
                "initial_simplex": center + 1e-3 * np.array([[0, 0], [1, 0], [0, 1]]),
            },
        )
        assert ended.fun == pytest.approx(1e3 * minimum.huber, rel=1e-9)
        assert ended.x == pytest.approx(center, abs=1e-5)


@pytest.mark.slow
def test_a_finer_scan_finds_no_further_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [rates(minimum) for minimum in fit.minima(published(), PAPER)]
    monkeypatch.setattr(fit, "_SCAN", 200)
    finer = [rates(minimum) for minimum in fit.minima(published(), PAPER)]
    assert finer == [pytest.approx(pair, rel=1e-4) for pair in known]


@pytest.mark.slow
def test_many_starts_of_scipy_go_no_lower_than_the_joint_fit() -> None:
    space = fit.coordinates(laws.REPETITION)
    best = fit.minima(space, PAPER)[0]
    target = np.log(PAPER.loss)

    def height(free: np.ndarray) -> tuple[float, np.ndarray]:
        log_loss, slopes = space.law.evaluate(space.theta(free[None]), PAPER)
        residuals = log_loss[0] - target
        clipped = np.clip(residuals, -fit.HUBER_DELTA, fit.HUBER_DELTA)
        gradient = space.directions @ slopes[0] @ clipped
        return 1e3 * float(fit.huber(residuals).sum()), 1e3 * gradient

    bounds = list(zip(space.lower, space.upper, strict=True))
    lowest = np.inf
    for start in fit.random_starts(space, PAPER, 16, seed=5):
        ended = optimize.minimize(height, start, jac=True, method="L-BFGS-B", bounds=bounds)
        lowest = min(lowest, ended.fun)
    assert 1e3 * best.huber <= lowest * (1 + 1e-6)
    # a free base halves the loss of the fixed one
    assert best.huber == pytest.approx(0.00696124507, rel=1e-6)


def test_another_seed_finds_the_same_lowest_minimum() -> None:
    space = fit.coordinates(laws.REPETITION)
    lowest = [fit.minima(space, PAPER, seed=seed)[0].huber for seed in range(3)]
    assert lowest == pytest.approx([lowest[0]] * 3, rel=1e-6)


@given(weights=st.lists(st.integers(0, 3), min_size=182, max_size=182), seed=st.integers(0, 99))
def test_a_descent_never_ends_higher_than_it_began(weights: list[int], seed: int) -> None:
    space = fit.coordinates(laws.REPETITION)
    start = fit.random_starts(space, PAPER, 2, seed)
    weight = np.array(weights, float)
    residuals = space.law.evaluate(space.theta(start), PAPER)[0] - np.log(PAPER.loss)
    before = fit.huber(residuals) @ weight
    free, after = fit.descend(space, PAPER, start, weight, steps=20)
    assert (after <= before).all()
    assert ((space.lower <= free) & (free <= space.upper)).all()


def test_a_fixed_parameter_stays_and_a_tied_one_follows() -> None:
    space = fit.coordinates(laws.REPETITION, {"E": 1.7})
    for minimum in fit.minima(space, PAPER)[:1]:
        assert np.exp(minimum.theta[2]) == pytest.approx(1.7)
        assert minimum.theta[3] == minimum.theta[4]
    untied = fit.coordinates(laws.REPETITION, None, tied=False)
    assert "beta" in untied.names
    assert fit.minima(untied, PAPER)[0].huber <= fit.minima(space, PAPER)[0].huber


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DataError, match="6 runs cannot fit 6 parameters"):
        fit.minima(fit.coordinates(laws.REPETITION), PAPER.subset(np.arange(6)))
    with pytest.raises(DataError, match="has no 'R_D'"):
        fit.coordinates(laws.CHINCHILLA, {"R_D": 3})
    with pytest.raises(DataError, match="A is -1; it has to be above 0"):
        fit.coordinates(laws.CHINCHILLA, {"A": -1})
    everything = dict.fromkeys(laws.CHINCHILLA.names, 1.0)
    with pytest.raises(DataError, match="nothing is left to fit"):
        fit.coordinates(laws.CHINCHILLA, everything)


def test_runs_of_one_epoch_leave_the_rates_at_their_bounds_or_say_nothing() -> None:
    """The surface is flat in R_D: the profile says that no value is excluded."""
    fresh = PAPER.subset(PAPER.epochs == 1)
    result = analysis.analyse(laws.DATA_ONLY, fresh, replicates=20)
    assert "R_D is not identified: any value fits the runs as well." in analysis.remarks(result)


def test_huber_is_quadratic_within_delta_and_linear_beyond() -> None:
    delta = fit.HUBER_DELTA
    inside, outside = fit.huber(np.array([delta / 2, 3 * delta]))
    assert inside == pytest.approx(delta**2 / 8) and outside == pytest.approx(2.5 * delta**2)


def test_the_same_runs_in_another_order_have_the_same_minima() -> None:
    order = np.random.default_rng(3).permutation(len(PAPER))
    shuffled: Runs = PAPER.subset(order)
    first = [minimum.huber for minimum in fit.minima(published(), PAPER)]
    second = [minimum.huber for minimum in fit.minima(published(), shuffled)]
    assert second == pytest.approx(first, rel=1e-9)
