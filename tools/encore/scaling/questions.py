"""What a fit is asked: regrets, epochs and data for a target loss, what more data is worth."""

from dataclasses import dataclass

import numpy as np

from encore.errors import DataError
from encore.scaling import laws
from encore.scaling.allocate import Allocation, allocate, predict
from encore.scaling.fit import Minimum
from encore.scaling.laws import Law
from encore.scaling.runs import Array, Points, Runs

_MOST_EPOCHS = 1e4
_GRID = 400
_BISECTIONS = 60
_HULL_STEPS = 4000
# in units of the runs' own spread
_HULL_TOLERANCE = 0.02


@dataclass(frozen=True)
class Regrets:
    """What it costs to follow one minimum where another is true: nats per token, [M, M].

    Row i spends the budget as minimum i advises; column j is the law that the loss is taken from.
    """

    allocations: Allocation
    losses: Array


def regrets(law: Law, minima: list[Minimum], flops: float, unique_tokens: float) -> Regrets:
    """The regret table of the minima at a budget."""
    theta = np.stack([minimum.theta for minimum in minima])
    advice = allocate(law, theta, np.array(flops), np.array(unique_tokens))
    points = Points(advice.params, advice.tokens, advice.unique_tokens)
    losses = predict(law, theta, points).T
    return Regrets(advice, losses - np.diag(losses))


def sensitivity(law: Law, theta: Array, flops: float, unique_tokens: float) -> dict[str, Array]:
    """By how many percent the best size, tokens and loss change when a coefficient grows by 1%.

    Three numbers for each coefficient of the law, by name.
    """
    coefficients = []
    for index, parameter in enumerate(law.parameters):
        changed = theta.copy()
        changed[index] = parameter.coordinate(1.01 * parameter.shown(float(theta[index])))
        coefficients.append(changed)
    every = np.stack([theta, *coefficients])
    best = allocate(law, every, np.array(flops), np.array(unique_tokens))
    table = np.stack([best.params, best.tokens, best.loss], axis=1)
    changes = 100 * (table[1:] / table[0] - 1)
    return dict(zip(law.names, changes, strict=True))


def epochs_for(law: Law, theta: Array, params: float, unique: float, loss: float) -> float:
    """The fewest epochs over `unique` tokens that take a model of this size to a loss.

    Raises DataError where no number of epochs does.
    """
    epochs = np.geomspace(1e-3, _MOST_EPOCHS, _GRID)
    losses = _loss_at_epochs(law, theta, params, unique, epochs)
    below = np.nonzero(losses <= loss)[0]
    if not len(below):
        raise DataError(
            f"{params:.4g} parameters never reach a loss of {loss:g} on {unique:.4g} unique tokens;"
            f" the lowest is {losses.min():.4f}, at {epochs[losses.argmin()]:.3g} epochs",
            "take more unique tokens or a larger model",
        )
    high = epochs[below[0]]
    low = epochs[max(below[0] - 1, 0)]
    for _ in range(_BISECTIONS):
        middle = np.sqrt(low * high)
        reached = _loss_at_epochs(law, theta, params, unique, np.array([middle]))[0] <= loss
        low, high = (low, middle) if reached else (middle, high)
    return float(high)


def _loss_at_epochs(law: Law, theta: Array, params: float, unique: float, epochs: Array) -> Array:
    size = np.full(len(epochs), params)
    points = Points(size, unique * epochs, np.full(len(epochs), unique))
    losses: Array = predict(law, theta, points)[0]
    return losses


def unique_tokens_for(law: Law, theta: Array, flops: float, loss: float) -> float:
    """The fewest unique tokens with which a budget, spent at its best, reaches a loss."""
    low, high = np.log(1e5), np.log(flops)
    best = allocate(law, theta, np.array(flops), np.exp(np.array(high))).loss[0]
    if best > loss:
        raise DataError(
            f"{flops:.3g} FLOPs never reach a loss of {loss:g}: with all tokens fresh it is"
            f" {best:.4f}",
            "raise the budget",
        )
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        value = allocate(law, theta, np.array(flops), np.exp(np.array(middle))).loss[0]
        low, high = (low, middle) if value <= loss else (middle, high)
    return float(np.exp(high))


def loss_by_unique_tokens(law: Law, theta: Array, flops: float, unique: Array) -> Allocation:
    """What a budget reaches with each amount of unique tokens."""
    return allocate(law, theta, np.full(len(unique), flops), unique)


def worth_of_epoch(r_d: float, epoch: Array) -> Array:
    """What the tokens of the k-th epoch are worth, as a share of fresh ones; 1 for the first.

    R_D (e^(−(k−2)/R_D) − e^(−(k−1)/R_D)): the growth of D' over one pass.
    """
    repeats = np.asarray(epoch, float)
    worth = r_d * (np.exp(-(repeats - 2) / r_d) - np.exp(-(repeats - 1) / r_d))
    return np.where(repeats < 2, 1.0, worth)


def epoch_worth_less_than(r_d: float, share: float) -> float:
    """The epoch (real, at least 2) from which on tokens are worth less than this share."""
    if not 0 < share < 1:
        raise DataError(f"a share of {share:g} is not between 0 and 1")
    return max(2.0, float(2 - r_d * np.log(share / (r_d * -np.expm1(-1 / r_d)))))


def compute_for_epochs(law: Law, theta: Array, unique: float, epochs: float) -> float:
    """The budget whose best allocation repeats `unique` tokens this often. Raises DataError."""
    budgets = np.geomspace(1e12, 1e32, _GRID)
    best = allocate(law, theta, budgets, np.array(unique))
    above = np.nonzero(best.epochs >= epochs)[0]
    if not len(above):
        raise DataError(f"no budget up to 1e32 FLOPs is best spent on {epochs:.3g} epochs")
    low, high = np.log(budgets[max(above[0] - 1, 0)]), np.log(budgets[above[0]])
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        repeated = allocate(law, theta, np.exp(np.array(middle)), np.array(unique)).epochs[0]
        low, high = (low, middle) if repeated >= epochs else (middle, high)
    return float(np.exp(high))


def outside(runs: Runs, params: float, tokens: float, unique: float) -> bool:
    """Whether a point lies outside the convex hull of the runs in (log N, log D/U, log U).

    Gilbert's method: it walks towards the hull's nearest point, until a plane parts the two or the
    distance is nil.
    """
    unique = min(unique, tokens)
    cloud = np.log(np.stack([runs.params, runs.epochs, runs.unique_tokens], axis=1))
    point = np.log([params, tokens / unique, unique])
    spread = np.maximum(cloud.std(axis=0), 1e-9)
    cloud = (cloud - point) / spread
    nearest = cloud[0]
    for _ in range(_HULL_STEPS):
        if np.linalg.norm(nearest) < _HULL_TOLERANCE:
            return False
        along = cloud @ nearest
        vertex = cloud[along.argmin()]
        if along.min() > _HULL_TOLERANCE * np.linalg.norm(nearest):
            return True
        step = nearest - vertex
        length = step @ step
        if length == 0:
            break
        nearest = nearest - np.clip(nearest @ step / length, 0, 1) * step
    return bool(np.linalg.norm(nearest) >= _HULL_TOLERANCE)


def rate(law: Law, theta: Array) -> float:
    """R_D of a parameter vector. Raises DataError for a law without it."""
    if law.name not in (laws.REPETITION.name, laws.DATA_ONLY.name):
        raise DataError(
            f"the law {law.name} has no exponential decay of repeated tokens",
            "use --law repetition or --law data-only",
        )
    return float(np.exp(np.atleast_2d(theta)[0, law.index("R_D")]))
