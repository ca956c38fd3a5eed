"""How sure a fit is: standard errors, bootstrap intervals, profiles.

Huber's loss is an M-estimate: with ψ the clipped residual, f the density of residuals at 0 and
J the slopes, its covariance is E[ψ²]/(2δf)² (JᵀJ)⁻¹ (Huber 1964); 2δf is the share of runs within
δ. Twice the rise of the loss over E[ψ²]/(2δf) is chi-squared with one degree of freedom.
"""

from dataclasses import dataclass

import numpy as np

from encore.scaling import fit
from encore.scaling.fit import Coordinates, Minimum
from encore.scaling.runs import Array, Runs

REPLICATES = 1000
_CHUNK = 64  # replicates that descend together: their arrays stay in the processor's caches
_PROFILE_POINTS = 41
_CHI_SQUARED_95 = 3.8414588  # one degree of freedom


@dataclass(frozen=True)
class ResidualSpread:
    """Of the residuals: E[ψ²] and the share within δ, smoothed."""

    psi_squared: float
    within: float

    @property
    def rise(self) -> float:
        """By how much the loss may rise in a 95% set."""
        return 0.5 * _CHI_SQUARED_95 * self.psi_squared / self.within


def spread(residuals: Array) -> ResidualSpread:
    """The spread of residuals; the density at 0 is a Gaussian kernel's, with Silverman's width."""
    size = np.abs(residuals)
    scale = 1.4826 * float(np.median(size))
    width = max(0.9 * scale * len(residuals) ** -0.2, fit.HUBER_DELTA / 10)
    density = np.exp(-0.5 * (residuals / width) ** 2).mean() / (width * np.sqrt(2 * np.pi))
    psi_squared = float((np.minimum(size, fit.HUBER_DELTA) ** 2).mean())
    within = float(min(1.0, 2 * fit.HUBER_DELTA * density))
    return ResidualSpread(max(psi_squared, 1e-30), within)


def standard_errors(space: Coordinates, runs: Runs, minimum: Minimum) -> Array:
    """Of the free parameters as the fit holds them, [F]: of a logarithm where it holds one.

    Infinite where the runs do not identify a parameter.
    """
    log_loss, by_theta = space.law.evaluate(minimum.theta[None], runs)
    slopes = space.directions @ by_theta[0]
    amount = spread(log_loss[0] - np.log(runs.loss))
    information = slopes @ slopes.T
    if np.linalg.cond(information) > 1e14:
        return np.full(len(space.names), np.inf)
    covariance = np.linalg.inv(information) * amount.psi_squared / amount.within**2
    return np.sqrt(np.diag(covariance))


def bootstrap(
    space: Coordinates,
    runs: Runs,
    found: list[Minimum],
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Array:
    """The free parameters [S, F] of fits to runs drawn again with replacement."""
    generator = np.random.default_rng(seed)
    chances = np.full(len(runs), 1 / len(runs))
    weights = generator.multinomial(len(runs), chances, size=replicates).astype(np.float64)
    if len(space.names) == 2:
        start = fit.scan(space, runs).best(weights)
    else:
        # each replicate starts at whichever of the minima suits its runs best
        theta = np.stack([minimum.theta for minimum in found])
        log_loss, _ = space.law.evaluate(theta, runs)
        losses = fit.huber(log_loss - np.log(runs.loss))
        start = space.free_of(theta)[(losses @ weights.T).argmin(axis=0)]
    draws = []
    for begin in range(0, replicates, _CHUNK):
        chunk = slice(begin, begin + _CHUNK)
        free, _ = fit.descend(space, runs, start[chunk], weights[chunk])
        draws.append(free)
    return np.concatenate(draws)


def intervals(draws: Array, level: float = 0.95) -> Array:
    """Percentile intervals [F, 2] of bootstrap draws [S, F]."""
    tail = 50 * (1 - level)
    ends: Array = np.percentile(draws, [tail, 100 - tail], axis=0).T
    return ends


@dataclass(frozen=True)
class Profile:
    """The lowest loss for each value of one parameter, and which values are in the 95% set.

    values: as the fit holds them. lower, upper: the ends of the set; None: it reaches the bound,
    and the runs do not say where it ends.
    """

    name: str
    values: Array
    losses: Array
    lower: float | None
    upper: float | None


def profiles(space: Coordinates, runs: Runs, best: Minimum) -> list[Profile]:
    """The profile of each free parameter, from the minimum outwards."""
    log_loss, _ = space.law.evaluate(best.theta[None], runs)
    limit = best.huber + spread(log_loss[0] - np.log(runs.loss)).rise
    errors = standard_errors(space, runs, best)
    center = space.free_of(best.theta)
    results = []
    for index, name in enumerate(space.names):
        reach = 6 * errors[index] if np.isfinite(errors[index]) else np.inf
        low = max(space.lower[index], center[index] - max(reach, 0.05))
        high = min(space.upper[index], center[index] + max(reach, 0.05))
        results.append(_profile(space, runs, best, index, name, limit, (low, high)))
    return results


def _profile(
    space: Coordinates,
    runs: Runs,
    best: Minimum,
    index: int,
    name: str,
    limit: float,
    span: tuple[float, float],
) -> Profile:
    center = space.free_of(best.theta)
    bounds = (space.lower[index], space.upper[index])
    low, high = span
    while True:
        values = np.unique(np.append(np.linspace(low, high, _PROFILE_POINTS), center[index]))
        start = np.tile(center, (len(values), 1))
        start[:, index] = values
        _, losses = fit.descend(space, runs, start, held=index)
        open_low = losses[0] <= limit and low > bounds[0]
        open_high = losses[-1] <= limit and high < bounds[1]
        if not open_low and not open_high:
            break
        # the set goes on beyond what was looked at
        width = high - low
        low = max(bounds[0], low - width) if open_low else low
        high = min(bounds[1], high + width) if open_high else high
    inside = np.nonzero(losses <= limit)[0]
    first, last = (inside[0], inside[-1]) if len(inside) else (0, len(values) - 1)
    lower = None if first == 0 else _crossing(values, losses, limit, first - 1, first)
    upper = None if last == len(values) - 1 else _crossing(values, losses, limit, last + 1, last)
    return Profile(name, values, losses, lower, upper)


def _crossing(values: Array, losses: Array, limit: float, outside: int, inside: int) -> float:
    rise = losses[outside] - losses[inside]
    share = (limit - losses[inside]) / rise if rise > 0 else 1.0
    return float(values[inside] + min(1.0, share) * (values[outside] - values[inside]))
