"""Fits: Huber's loss on the difference of log losses, minimised from many starts at once.

δ = 1e-3 is the paper's. It lies far below the residuals, so the loss is nearly that of absolute
deviations and its surface is kinked: one start finds one of several shallow minima, by luck. Here
all starts descend together, and a fit with two free parameters is scanned exhaustively first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from encore.errors import DataError
from encore.scaling.laws import Law, RepetitionLaw
from encore.scaling.runs import Array, Runs

HUBER_DELTA = 1e-3
STARTS = 32
_SCAN = 64  # grid points a parameter in an exhaustive scan
# The floor of the valley is searched where it is at most this much above its lowest point: minima
# lie closer to one another there than the grid's points.
_VALLEY = 1.01
_FINE = 0.05
_BAND = 6  # grid points to each side of the floor
_SCANNED_ROWS = 512  # of the grid at once, so that a scan stays in the processor's caches
_STEPS = 400
_STALLS = 12
_LEAST_STEP = 1e-9
# a step that gains less than this share of the loss is the last
_GAIN = 1e-11
# minima whose parameters (as the fit holds them) differ by less are one
_SAME = 2e-3
# a coordinate this close to its bound is at it
_AT_BOUND = 1e-6


@dataclass(frozen=True)
class Coordinates:
    """The free directions of a fit: theta = origin + free · directions.

    names: of the free parameters, in order. lower, upper: bounds of each.
    """

    law: Law
    names: tuple[str, ...]
    origin: Array
    directions: Array
    lower: Array
    upper: Array

    def theta(self, free: Array) -> Array:
        """Parameter vectors [S, P] of free coordinates [S, F]."""
        theta: Array = self.origin + free @ self.directions
        return theta

    def free_of(self, theta: Array) -> Array:
        """The free coordinates of parameter vectors."""
        indices = [self.law.index(name) for name in self.names]
        return np.clip(theta[..., indices], self.lower, self.upper)


def coordinates(
    law: Law, fixed: Mapping[str, float] | None = None, tied: bool = True
) -> Coordinates:
    """The coordinates of a fit where `fixed` parameters keep their values (of the formula).

    tied: beta is alpha, unless one of the two is fixed. Raises DataError.
    """
    fixed = fixed or {}
    for name, value in fixed.items():
        if name not in law.names:
            raise DataError(f"the law {law.name} has no {name!r}", f"it has {', '.join(law.names)}")
        if law.parameters[law.index(name)].is_log and value <= 0:
            raise DataError(f"{name} is {value:g}; it has to be above 0")
    tied = tied and "alpha" not in fixed and "beta" not in fixed
    origin = np.zeros(len(law.parameters))
    rows, names, lower, upper = [], [], [], []
    for index, parameter in enumerate(law.parameters):
        if parameter.name in fixed:
            origin[index] = parameter.coordinate(fixed[parameter.name])
            continue
        if parameter.name == "beta" and tied:
            continue
        row = np.zeros(len(law.parameters))
        row[index] = 1
        if parameter.name == "alpha" and tied:
            row[law.index("beta")] = 1
        rows.append(row)
        names.append(parameter.name)
        lower.append(parameter.lower)
        upper.append(parameter.upper)
    if not rows:
        raise DataError("every parameter is fixed: nothing is left to fit")
    return Coordinates(
        law, tuple(names), origin, np.array(rows), np.array(lower, float), np.array(upper, float)
    )


@dataclass(frozen=True)
class Minimum:
    """A minimum: theta as the law holds it, Huber's loss, and which parameters lie at a bound."""

    theta: Array
    huber: float
    unbounded: tuple[str, ...]


def huber(residuals: Array) -> Array:
    """Huber's loss of each residual."""
    size = np.abs(residuals)
    clipped = np.minimum(size, HUBER_DELTA)
    return clipped * (size - 0.5 * clipped)


def loss(law: Law, theta: Array, runs: Runs) -> Array:
    """Huber's loss, summed over the runs, of parameter vectors [S, P]."""
    log_loss, _ = law.evaluate(theta, runs)
    total: Array = huber(log_loss - np.log(runs.loss)).sum(axis=-1)
    return total


def descend(
    space: Coordinates,
    runs: Runs,
    start: Array,
    weights: Array | None = None,
    held: int | None = None,
    steps: int = _STEPS,
) -> tuple[Array, Array]:
    """The minima [S, F] that starts [S, F] lead to, and Huber's loss there [S].

    weights: how often each run counts, [S, n] or [n]. held: a coordinate that stays as it is.

    Levenberg and Marquardt's method for all
    starts at once. A step is taken only if it lowers the loss; runs within δ, where Huber's loss is
    quadratic, shape the step, and the rest as iterated reweighting has it.
    """
    weight = np.ones((len(start), len(runs))) if weights is None else weights
    weight = np.broadcast_to(weight, (len(start), len(runs)))
    target = np.log(runs.loss)
    free = np.clip(start, space.lower, space.upper)
    residuals, slopes = _residuals(space, free, runs, target)
    value = (weight * huber(residuals)).sum(axis=1)
    damping = np.full(len(free), 1e-2)
    active = np.arange(len(free))
    stalls = np.zeros(len(free), dtype=int)
    for _ in range(steps):
        if not len(active):
            break
        if held is not None:
            slopes[:, held] = 0
        step = _step(space, free[active], residuals, slopes, weight[active], damping[active])
        before = free[active]
        trial = np.clip(before + step, space.lower, space.upper)
        new_residuals, new_slopes = _residuals(space, trial, runs, target)
        new_value = (weight[active] * huber(new_residuals)).sum(axis=1)
        better = new_value < value[active]
        gain = value[active] - new_value
        small = gain < _GAIN * value[active]
        stalls[active] = np.where(small, stalls[active] + 1, 0)
        free[active[better]] = trial[better]
        value[active[better]] = new_value[better]
        residuals[better] = new_residuals[better]
        slopes[better] = new_slopes[better]
        damping[active] = np.where(better, damping[active] / 4, damping[active] * 6)
        damping[active] = np.maximum(damping[active], 1e-12)
        # a rejected step shortens the next; only many in a row are an end
        moves = np.abs(trial - before).max(axis=1) > _LEAST_STEP
        going = moves & (stalls[active] < _STALLS) & (damping[active] < 1e14)
        active, residuals, slopes = active[going], residuals[going], slopes[going]
    return free, value


def _residuals(space: Coordinates, free: Array, runs: Runs, target: Array) -> tuple[Array, Array]:
    log_loss, by_theta = space.law.evaluate(space.theta(free), runs)
    return log_loss - target, np.einsum("fp,spn->sfn", space.directions, by_theta)


def _step(
    space: Coordinates,
    free: Array,
    residuals: Array,
    slopes: Array,
    weight: Array,
    damping: Array,
) -> Array:
    clipped = np.clip(residuals, -HUBER_DELTA, HUBER_DELTA)
    gradient = np.einsum("sfn,sn->sf", slopes, weight * clipped)
    # a parameter at its bound stays there while its slope leads outward
    outward = ((free <= space.lower) & (gradient > 0)) | ((free >= space.upper) & (gradient < 0))
    slopes = np.where(outward[:, :, None], 0.0, slopes)
    size = np.abs(residuals)
    share = HUBER_DELTA / np.maximum(size, HUBER_DELTA)
    inside = np.where(size <= HUBER_DELTA, 1.0, 0.0)
    # pure reweighting where the step is damped, Newton's matrix where it is not
    mix = (damping / (damping + 1e-3))[:, None]
    curvature = weight * (mix * share + (1 - mix) * np.maximum(inside, 0.05 * share))
    matrix = np.einsum("sfn,sgn->sfg", slopes * curvature[:, None], slopes)
    scale = np.einsum("sffx->sfx", matrix[..., None])[..., 0] + 1e-12
    identity = np.eye(matrix.shape[1])
    matrix = matrix + identity * (damping[:, None] * scale + 1e-14)[:, None, :]
    gradient = np.where(outward, 0.0, gradient)
    step = -np.linalg.solve(matrix, gradient[..., None])[..., 0]
    return np.clip(step, -2.0, 2.0)


def minima(space: Coordinates, runs: Runs, starts: int = STARTS, seed: int = 0) -> list[Minimum]:
    """All distinct minima that were found, the lowest first. Raises DataError.

    With two free parameters the start points are all local minima of a grid over the bounds, so the
    list is a statement about the surface; with more they are `starts` random points.
    """
    if len(runs) <= len(space.names):
        raise DataError(
            f"{len(runs)} runs cannot fit {len(space.names)} parameters ({', '.join(space.names)})",
            "add runs, or fix parameters with --fix",
        )
    if len(space.names) == 2:
        start = scanned_starts(space, runs)
    else:
        start = random_starts(space, runs, starts, seed)
    free, values = descend(space, runs, start)
    return _distinct(space, free, values)


def _distinct(space: Coordinates, free: Array, values: Array) -> list[Minimum]:
    results: list[Minimum] = []
    kept: list[Array] = []
    for index in np.argsort(values):
        point = free[index]
        if not np.isfinite(values[index]):
            continue
        if any(np.abs(point - other).max() < _SAME for other in kept):
            continue
        kept.append(point)
        unbounded = []
        for position, name in enumerate(space.names):
            at_lower = point[position] <= space.lower[position] + _AT_BOUND
            at_upper = point[position] >= space.upper[position] - _AT_BOUND
            if at_lower or at_upper:
                unbounded.append(name)
        results.append(Minimum(space.theta(point), float(values[index]), tuple(unbounded)))
    return results


@dataclass(frozen=True)
class Scan:
    """Huber's loss of each run on a grid of two free parameters: axes [G] and losses [G·G, n]."""

    space: Coordinates
    axes: tuple[Array, Array]
    losses: Array

    @property
    def total(self) -> Array:
        """Huber's loss over all runs at each grid point."""
        total: Array = self.losses.sum(axis=1, dtype=np.float64)
        return total.reshape(len(self.axes[0]), len(self.axes[1]))

    def best(self, weights: Array) -> Array:
        """For weights [S, n] of the runs, the lowest grid points [S, 2]."""
        lowest = (self.losses @ weights.T).argmin(axis=0)
        columns = len(self.axes[1])
        return np.stack([self.axes[0][lowest // columns], self.axes[1][lowest % columns]], axis=1)


def scan(space: Coordinates, runs: Runs) -> Scan:
    """The whole surface of a fit with two free parameters."""
    axes = (
        np.linspace(space.lower[0], space.upper[0], _SCAN),
        np.linspace(space.lower[1], space.upper[1], _SCAN),
    )
    target = np.log(runs.loss)
    parts = []
    if _is_separable(space):
        first, second, rest = _tables(space, runs, axes)
        single = target.astype(np.float32)
        for row in first + rest:
            parts.append(huber(np.log(row + second) - single))
    else:
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        for begin in range(0, len(grid), _SCANNED_ROWS):
            theta = space.theta(grid[begin : begin + _SCANNED_ROWS])
            log_loss, _ = space.law.evaluate(theta, runs)
            parts.append(huber(log_loss - target))
    return Scan(space, axes, np.concatenate(parts))


def scanned_starts(space: Coordinates, runs: Runs) -> Array:
    """Points [S, 2] from which a descent finds every minimum of the surface.

    Minima can lie along the floor of a valley, closer to one another than the grid's points: the
    floor is scanned again on a finer grid.
    """
    surface = scan(space, runs)
    total = surface.total
    if not _is_separable(space):
        return _lowest(surface.axes, total)
    rows = np.nonzero(total.min(axis=1) <= _VALLEY * total.min())[0]
    along, across = surface.axes[0], surface.axes[1][total.argmin(axis=1)]
    floor = across[max(rows[0] - 1, 0) : rows[-1] + 2]
    first_axis = np.arange(along[max(rows[0] - 1, 0)], along[rows[-1]], _FINE)
    second_axis = np.arange(floor.min() - _BAND * _FINE, floor.max() + _BAND * _FINE, _FINE)
    first, second, rest = _tables(space, runs, (first_axis, second_axis))
    target = np.log(runs.loss).astype(np.float32)
    fine = np.full((len(first_axis), len(second_axis)), -np.inf)
    middle = np.searchsorted(second_axis, np.interp(first_axis, along, across))
    for row, column in enumerate(middle):
        band = slice(max(column - _BAND, 0), column + _BAND)
        residuals = np.log(first[row] + rest + second[band]) - target
        fine[row, band] = huber(residuals).sum(axis=1, dtype=np.float64)
    in_valley = total <= _VALLEY * total.min()
    coarse = _lowest(surface.axes, np.where(in_valley, np.inf, total))
    # what lies at the band's edge may fall further beyond it: it is no minimum
    return np.concatenate([coarse, _lowest((first_axis, second_axis), fine, -np.inf)])


def _is_separable(space: Coordinates) -> bool:
    """Whether each free parameter is in a term of its own, so that two tables make a grid."""
    return isinstance(space.law, RepetitionLaw) and set(space.names) == {"R_D", "R_N"}


def _tables(
    space: Coordinates, runs: Runs, axes: tuple[Array, Array]
) -> tuple[Array, Array, Array]:
    """The two terms along their own axes, [G, n] each, and the term that neither changes.

    In single precision, whose logarithm is several times faster: a scan only finds where to start.
    """
    tables = []
    for position, name in enumerate(space.names):
        free = np.tile(0.5 * (space.lower + space.upper), (len(axes[position]), 1))
        free[:, position] = axes[position]
        terms = np.exp(space.law.terms(space.theta(free), runs).values)
        tables.append(terms[:, 1 if name == "R_D" else 0].astype(np.float32))
        rest = terms[0, 2].astype(np.float32)
    return tables[0], tables[1], rest


def _lowest(axes: tuple[Array, Array], total: Array, beyond: float = np.inf) -> Array:
    """The grid points [S, 2] that are no higher than their eight neighbours.

    beyond: what stands around the grid.
    """
    padded = np.pad(total, 1, constant_values=beyond)
    chosen = np.isfinite(total)
    rows, columns = total.shape
    for down in (0, 1, 2):
        for right in (0, 1, 2):
            chosen &= total <= padded[down : down + rows, right : right + columns]
    first, second = np.nonzero(chosen)
    return np.stack([axes[0][first], axes[1][second]], axis=1)


def random_starts(space: Coordinates, runs: Runs, count: int, seed: int) -> Array:
    """Start points: plausible bases, rates and exponents, the lowest of many."""
    generator = np.random.default_rng(seed)
    width = {
        "A": (3.0, 10.0),
        "B": (3.0, 10.0),
        "E": (-0.7, float(np.log(runs.loss.min()))),
        "alpha": (0.2, 0.6),
        "beta": (0.2, 0.6),
        "R_D": (0.0, 6.0),
        "R_N": (0.0, 6.0),
        "P": (-16.0, -2.0),
        "delta": (0.3, 2.0),
        "kappa": (0.1, 2.0),
    }
    low = np.array([width[name][0] for name in space.names])
    high = np.array([width[name][1] for name in space.names])
    points = generator.uniform(low, high, size=(16 * count, len(space.names)))
    values = loss(space.law, space.theta(points), runs)
    return points[np.argsort(values)[:count]]
