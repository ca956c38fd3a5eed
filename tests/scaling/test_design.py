"""Recovery of a known truth, and runs that identify a parameter."""

import numpy as np
import pytest
from encore.errors import DataError
from encore.scaling import design, fit, laws, runs
from encore.scaling.runs import Runs

PAPER = runs.of_paper()
SPACE = fit.coordinates(laws.REPETITION)
TRUTH = np.array([7.07, 8.79, 0.744, 0.403, 0.403, np.log(20.0), np.log(8.0)])


@pytest.mark.slow
def test_intervals_cover_the_truth_where_the_design_identifies_it() -> None:
    for one in design.recover(SPACE, TRUTH, PAPER, 0.01, 200, 200):
        assert one.covered >= 180, one


def test_a_few_data_sets_are_recovered() -> None:
    coverage = design.recover(SPACE, TRUTH, PAPER, 0.01, 4, 60)
    assert [one.name for one in coverage] == list(SPACE.names)
    assert sum(one.covered for one in coverage) >= 18


@pytest.mark.slow
def test_the_chosen_runs_give_the_interval_that_was_asked_for() -> None:
    candidates = design.grid([20e6, 100e6, 400e6], [100e6, 400e6], [1, 2, 4, 8, 16, 32, 64])
    chosen = design.cheapest_runs(SPACE, TRUTH, None, candidates, 0.01, "R_D", 1.5)
    factors = [one.factor for one in chosen]
    assert factors == sorted(factors, reverse=True) and factors[-1] <= 1.5 < factors[-2]
    # fitted to such runs, the estimate is indeed that near
    points = runs.Points(*(np.array(column) for column in zip(*_rows(chosen), strict=True)))
    log_loss = SPACE.law.evaluate(TRUTH[None], points)[0][0]
    generator = np.random.default_rng(1)
    estimates = []
    for _ in range(40):
        noisy = np.exp(log_loss + generator.normal(0, 0.01, len(log_loss)))
        columns = (points.params, points.tokens, points.unique_tokens, noisy)
        made = Runs(*columns, ("",) * len(noisy))
        estimates.append(fit.descend(SPACE, made, SPACE.free_of(TRUTH)[None])[0][0])
    error = np.std(np.array(estimates)[:, SPACE.names.index("R_D")])
    # Huber's loss is a little less efficient than least squares, which a design reckons with
    assert error < 2 * np.log(1.5) / 1.96


def _rows(chosen: list[design.Candidate]) -> list[tuple[float, float, float]]:
    return [(one.params, one.tokens, one.unique_tokens) for one in chosen]


def test_runs_of_one_epoch_cannot_tell_what_a_repeated_token_is_worth() -> None:
    space = fit.coordinates(laws.DATA_ONLY)
    truth = np.delete(TRUTH, 6)
    with pytest.raises(DataError, match="none of the offered runs says anything on R_D"):
        design.cheapest_runs(space, truth, None, design.grid([1e8], [1e9], [1]), 0.01, "R_D", 2)


def test_the_papers_runs_need_no_more_for_a_wide_interval() -> None:
    candidates = design.grid([1e8], [1e8], [4.0])
    assert design.cheapest_runs(SPACE, TRUTH, PAPER, candidates, 0.01, "R_D", 3.0) == []
