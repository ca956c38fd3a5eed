"""Which runs would tell: recovery of a known truth, and the cheapest runs that identify R_D."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encore.errors import DataError
from encore.scaling import fit, uncertainty
from encore.scaling.fit import Coordinates
from encore.scaling.runs import Array, Points, Runs

# what a fit is believed to know without runs: a bound's range is four standard deviations
_PRIOR_DEVIATIONS = 4
_NORMAL_95 = 1.959964
_MOST_RUNS = 200


@dataclass(frozen=True)
class Coverage:
    """How often the 95% interval of a parameter held the truth, of how many data sets.

    width: the median interval's upper end over its lower end, or their difference for an exponent.
    """

    name: str
    truth: float
    covered: int
    data_sets: int
    width: float


def recover(
    space: Coordinates,
    theta: Array,
    points: Points,
    noise: float,
    data_sets: int,
    replicates: int,
    seed: int = 0,
) -> list[Coverage]:
    """Fit synthetic runs of a stated truth [P] and count how often the bootstrap intervals hold it.

    noise: standard deviation of log losses.
    """
    generator = np.random.default_rng(seed)
    law = space.law
    log_loss = law.evaluate(theta[None], points)[0][0]
    count = len(log_loss)
    free = space.free_of(theta)
    covered = np.zeros(len(space.names), dtype=int)
    widths = []
    for index in range(data_sets):
        losses = np.exp(log_loss + generator.normal(0, noise, size=count))
        runs = Runs(points.params, points.tokens, points.unique_tokens, losses, ("",) * count)
        minima = fit.minima(space, runs, seed=index)
        draws = uncertainty.bootstrap(space, runs, minima, replicates, index)
        low, high = uncertainty.intervals(draws).T
        covered += (low <= free) & (free <= high)
        widths.append(high - low)
    median = np.median(widths, axis=0)
    results = []
    for index, name in enumerate(space.names):
        parameter = law.parameters[law.index(name)]
        width = float(np.exp(median[index])) if parameter.is_log else float(median[index])
        truth = parameter.shown(float(free[index]))
        results.append(Coverage(name, truth, int(covered[index]), data_sets, width))
    return results


@dataclass(frozen=True)
class Candidate:
    """A run that could be trained, and the expected interval of the target once it is.

    factor: the 95% interval's upper end over the estimate, after this run and those before it.
    """

    params: float
    tokens: float
    unique_tokens: float
    flops: float
    factor: float


def grid(sizes: Sequence[float], unique: Sequence[float], epochs: Sequence[float]) -> Points:
    """All combinations of sizes, unique tokens and epochs."""
    columns = np.stack(np.meshgrid(sizes, unique, epochs, indexing="ij"), axis=-1).reshape(-1, 3)
    params, unique_tokens, passes = columns.T
    return Points(params, unique_tokens * passes, unique_tokens)


def cheapest_runs(
    space: Coordinates,
    theta: Array,
    runs: Runs | None,
    candidates: Points,
    noise: float,
    target: str,
    factor: float,
) -> list[Candidate]:
    """Runs to add, in order, until the target's 95% interval is within `factor` either way.

    Each step adds the run that lowers the variance of the target's logarithm most for its compute.
    theta: the best guess of the truth [P]. noise: standard deviation of log losses. Raises
    DataError where none of the candidates tells more.
    """
    if target not in space.names:
        raise DataError(f"{target} is not free in this fit", "do not fix it")
    index = space.names.index(target)
    width = (space.upper - space.lower) / _PRIOR_DEVIATIONS
    information = np.diag(width**-2.0)
    if runs is not None:
        slopes = _slopes(space, theta, runs)
        information = information + slopes @ slopes.T / noise**2
    slopes = _slopes(space, theta, candidates) / noise
    flops = candidates.flops
    chosen: list[Candidate] = []
    goal = np.log(factor) / _NORMAL_95
    covariance = np.linalg.inv(information)
    while np.sqrt(covariance[index, index]) > goal:
        if len(chosen) == _MOST_RUNS:
            raise DataError(
                f"{_MOST_RUNS} of these runs leave {target} known within a factor of"
                f" {_factor(covariance, index):.3g} only",
                "offer larger runs or more epochs, or ask for less",
            )
        along = covariance @ slopes
        gain = along[index] ** 2 / (1 + np.einsum("fn,fn->n", slopes, along))
        best = int((gain / flops).argmax())
        if gain[best] <= 1e-12 * covariance[index, index]:
            raise DataError(
                f"none of the offered runs says anything on {target}", "offer more epochs or sizes"
            )
        step = along[:, best]
        covariance = covariance - np.outer(step, step) / (1 + slopes[:, best] @ step)
        chosen.append(
            Candidate(
                float(candidates.params[best]),
                float(candidates.tokens[best]),
                float(candidates.unique_tokens[best]),
                float(flops[best]),
                _factor(covariance, index),
            )
        )
    return chosen


def _factor(covariance: Array, index: int) -> float:
    return float(np.exp(_NORMAL_95 * np.sqrt(covariance[index, index])))


def _slopes(space: Coordinates, theta: Array, points: Points) -> Array:
    plain = Points(points.params, points.tokens, np.minimum(points.unique_tokens, points.tokens))
    slopes: Array = space.directions @ space.law.evaluate(theta[None], plain)[1][0]
    return slopes
