"""Standard errors, bootstrap and profiles: against each other, and against a known truth."""

import numpy as np
import pytest
from encore.scaling import analysis, fit, laws, runs, uncertainty

PAPER = runs.of_paper()


def test_the_published_fit_does_not_bound_r_d() -> None:
    result = analysis.analyse(laws.REPETITION, PAPER, analysis.published_base(), replicates=100)
    profile = result.profiles[0]
    assert profile.name == "R_D" and profile.upper is None
    low, high = result.interval("R_D")
    assert low < 15.387756 < high and high > 1e4
    remarks = " ".join(analysis.remarks(result))
    assert "R_D is unbounded above" in remarks
    assert "5 distinct minima" in remarks
    assert "The fixed base misses the runs: for the 29 runs of one epoch" in remarks


def test_r_squared_is_of_losses_in_nats() -> None:
    space = fit.coordinates(laws.REPETITION, analysis.published_base())
    result = analysis.Analysis(space, PAPER, [], np.array([]), np.array([]), [])
    published = fit.Minimum(analysis.published_theta(), 0.0, ())
    # the notebook's r2_score of the same coefficients
    assert result.r_squared(published) == pytest.approx(0.7722046084968408, abs=1e-6)


def test_a_bootstrap_is_the_same_for_the_same_seed_and_holds_its_own_minimum() -> None:
    space = fit.coordinates(laws.REPETITION)
    minima = fit.minima(space, PAPER)
    first = uncertainty.bootstrap(space, PAPER, minima, 50, seed=4)
    assert (first == uncertainty.bootstrap(space, PAPER, minima, 50, seed=4)).all()
    low, high = uncertainty.intervals(first).T
    best = space.free_of(minima[0].theta)
    assert ((low <= best) & (best <= high)).all()


def test_a_profile_is_lowest_at_the_minimum_and_its_ends_are_on_the_limit() -> None:
    space = fit.coordinates(laws.DATA_ONLY)
    best = fit.minima(space, PAPER)[0]
    for profile in uncertainty.profiles(space, PAPER, best):
        assert profile.losses.min() >= best.huber * (1 - 1e-9)
        assert profile.lower is not None and profile.upper is not None
        center = space.free_of(best.theta)[space.names.index(profile.name)]
        assert profile.lower < center < profile.upper


def test_errors_are_infinite_where_a_parameter_is_not_identified() -> None:
    fresh = PAPER.subset(PAPER.epochs == 1)
    space = fit.coordinates(laws.DATA_ONLY)
    best = fit.minima(space, fresh)[0]
    assert np.isinf(uncertainty.standard_errors(space, fresh, best)).all()
