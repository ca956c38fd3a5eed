"""A fit with all that is to be known of it: minima, errors, intervals, profiles, what it misses."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from encore.registry.published_law import load_published_law
from encore.scaling import fit, uncertainty
from encore.scaling.fit import Coordinates, Minimum
from encore.scaling.laws import Law
from encore.scaling.runs import Array, Runs
from encore.scaling.uncertainty import Profile

# a base that is off by more than this, in log loss, misses the runs
_MISS = 0.005
_SINGLE_EPOCH = 1.001


@dataclass(frozen=True)
class Analysis:
    """A law's fit to runs. `draws` are the bootstrap's free parameters [S, F]."""

    space: Coordinates
    runs: Runs
    minima: list[Minimum]
    errors: Array
    draws: Array
    profiles: list[Profile]

    @property
    def law(self) -> Law:
        """The law that was fitted."""
        return self.space.law

    @property
    def best(self) -> Minimum:
        """The lowest minimum."""
        return self.minima[0]

    @property
    def theta_draws(self) -> Array:
        """The bootstrap's parameter vectors [S, P]."""
        return self.space.theta(self.draws)

    def r_squared(self, minimum: Minimum) -> float:
        """1 − SS(residuals)/SS(total), of losses in nats and not of their logarithms."""
        predicted = np.exp(self.law.evaluate(minimum.theta[None], self.runs)[0][0])
        residual = ((self.runs.loss - predicted) ** 2).sum()
        total = ((self.runs.loss - self.runs.loss.mean()) ** 2).sum()
        return float(1 - residual / total) if total > 0 else float("nan")

    def interval(self, name: str) -> tuple[float, float]:
        """The 95% bootstrap interval of a free parameter, in the formula's units."""
        index = self.space.names.index(name)
        parameter = self.law.parameters[self.law.index(name)]
        low, high = uncertainty.intervals(self.draws)[index]
        return parameter.shown(low), parameter.shown(high)


def analyse(
    law: Law,
    runs: Runs,
    fixed: Mapping[str, float] | None = None,
    tied: bool = True,
    starts: int = fit.STARTS,
    replicates: int = uncertainty.REPLICATES,
    seed: int = 0,
) -> Analysis:
    """Fit a law and say how sure the fit is. Raises DataError where the runs cannot fit it."""
    space = fit.coordinates(law, fixed, tied)
    minima = fit.minima(space, runs, starts, seed)
    errors = uncertainty.standard_errors(space, runs, minima[0])
    draws = uncertainty.bootstrap(space, runs, minima, replicates, seed)
    profiles = uncertainty.profiles(space, runs, minima[0])
    return Analysis(space, runs, minima, errors, draws, profiles)


def published_base() -> dict[str, float]:
    """The published base coefficients, in the formula's units: what the paper's fit holds fixed."""
    law = load_published_law()
    return {
        "A": float(np.exp(law.log_A)),
        "B": float(np.exp(law.log_B)),
        "E": float(np.exp(law.log_E)),
        "alpha": law.alpha,
        "beta": law.beta,
    }


def published_theta() -> Array:
    """The published coefficients as laws.REPETITION holds them."""
    law = load_published_law()
    rates = (np.log(law.R_D), np.log(law.R_N))
    return np.array([law.log_A, law.log_B, law.log_E, law.alpha, law.beta, *rates])


def remarks(result: Analysis) -> list[str]:
    """Plain sentences on what the fit does not know or does not fit."""
    sentences = []
    for profile in result.profiles:
        parameter = result.law.parameters[result.law.index(profile.name)]
        if profile.lower is None and profile.upper is None:
            sentences.append(f"{profile.name} is not identified: any value fits the runs as well.")
        elif profile.upper is None:
            low = parameter.shown(profile.lower or 0.0)
            sentences.append(
                f"{profile.name} is unbounded above: the runs say that it is at least {low:.4g},"
                " and fit any larger value as well."
            )
        elif profile.lower is None:
            high = parameter.shown(profile.upper)
            sentences.append(
                f"{profile.name} is unbounded below: the runs say that it is at most {high:.4g}."
            )
    if len(result.minima) > 1:
        first, last = result.minima[0], result.minima[-1]
        rise = last.huber / first.huber - 1
        sentences.append(
            f"{len(result.minima)} distinct minima; the highest is {100 * rise:.2g}% above the"
            " lowest. One start alone would have found one of them by chance."
        )
    sentences += _missed_runs(result)
    return sentences


def _missed_runs(result: Analysis) -> list[str]:
    base = [name for name in ("A", "B", "E", "alpha", "beta") if name not in result.space.names]
    if "A" not in base:
        return []
    fresh = result.runs.epochs <= _SINGLE_EPOCH
    if not fresh.any():
        return []
    runs = result.runs.subset(fresh)
    predicted = result.law.evaluate(result.best.theta[None], runs)[0][0]
    miss = float(np.median(np.log(runs.loss) - predicted))
    if abs(miss) < _MISS:
        return []
    direction = "below" if miss > 0 else "above"
    return [
        f"The fixed base misses the runs: for the {len(runs)} runs of one epoch it predicts losses"
        f" that are {100 * abs(miss):.1f}% {direction} those measured (median)."
    ]
