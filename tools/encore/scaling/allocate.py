"""How to spend a budget: parameters, tokens and epochs of the lowest predicted loss.

For the law of repetition the optimum is exact. With G = (αA/(βB))^(1/(α+β)), U_N = G (G U)^(β/α),
N = U_N (1+x), D = U (1+y) and K = C/(6 U_N U) = (1+x)(1+y): where K ≤ 1 no data is repeated and the
optimum is Chinchilla's. Where K > 1 the first-order condition is φ(x; R_N, α) = φ(y; R_D, β) with

    φ(z; r, p) = ln(1+z) − z/r − (1+p) ln(1 + r(1 − e^(−z/r)))

φ falls strictly, so there is one root in u = ln(1+x) on [0, ln K]. It depends on K, R_D, R_N, α and
β alone. Other laws are searched on a grid of sizes, then refined.
"""

from dataclasses import dataclass, replace

import numpy as np

from encore.scaling import laws
from encore.scaling.laws import Law
from encore.scaling.runs import Array, Points

_FLOPS_PER_TOKEN_AND_PARAMETER = 6
_BISECTIONS = 60
_GRID = 600
_GOLDEN = (np.sqrt(5) - 1) / 2
_GOLDEN_STEPS = 50
# e^z of what a search may reach: sizes from 10^3 to 10^15
_SEARCH = (np.log(1e3), np.log(1e15))


@dataclass(frozen=True)
class Allocation:
    """The best use of each budget, arrays of one shape: N, D, predicted loss in nats per token."""

    params: Array
    tokens: Array
    unique_tokens: Array
    loss: Array

    @property
    def epochs(self) -> Array:
        """How often each unique token is seen; 1 where not all of them are needed."""
        return np.maximum(1.0, self.tokens / self.unique_tokens)


def allocate(law: Law, theta: Array, flops: Array, unique_tokens: Array) -> Allocation:
    """The lowest loss that `flops` (6·N·D) reach with that many unique tokens.

    theta: [S, P], or one vector for all; flops and unique_tokens: [S] or one value.
    """
    theta = np.atleast_2d(theta)
    count = max(len(theta), np.size(flops), np.size(unique_tokens))
    theta = np.broadcast_to(theta, (count, theta.shape[1]))
    budget = np.log(np.broadcast_to(np.asarray(flops, float), (count,)))
    budget = budget - np.log(_FLOPS_PER_TOKEN_AND_PARAMETER)
    unique = np.log(np.broadcast_to(np.asarray(unique_tokens, float), (count,)))
    if law is laws.REPETITION:
        log_size = _exact_size(theta, budget, unique)
    else:
        log_size = _searched_size(law, theta, budget, unique)
    loss = _loss_along(law, theta, budget, unique, log_size[:, None])[:, 0]
    return Allocation(np.exp(log_size), np.exp(budget - log_size), np.exp(unique), loss)


def _exact_size(theta: Array, budget: Array, unique: Array) -> Array:
    a, b, _, alpha, beta, log_r_d, log_r_n = theta.T
    log_g = (np.log(alpha / beta) + a - b) / (alpha + beta)
    chinchilla = log_g + budget * beta / (alpha + beta)
    best_for_unique = log_g + (log_g + unique) * beta / alpha
    excess = np.maximum(budget - best_for_unique - unique, 0.0)  # ln K
    share = universal_share(excess, np.exp(log_r_d), np.exp(log_r_n), alpha, beta)
    size: Array = np.where(excess > 0, best_for_unique + share * excess, chinchilla)
    return size


def universal_share(log_k: Array, r_d: Array, r_n: Array, alpha: Array, beta: Array) -> Array:
    """The share of ln K that goes into parameters, ln(1+x)/ln K; the rest goes into epochs."""
    low = np.zeros_like(log_k)
    high = np.ones_like(log_k)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        # falls in u, from above 0 where nothing is put into parameters to below 0
        slope = _phi(middle * log_k, r_n, alpha) - _phi((1 - middle) * log_k, r_d, beta)
        above = slope > 0
        low = np.where(above, middle, low)
        high = np.where(above, high, middle)
    return 0.5 * (low + high)


def _phi(log_growth: Array, rate: Array, power: Array) -> Array:
    excess = np.expm1(log_growth)
    worth = np.log1p(-rate * np.expm1(-excess / rate))
    value: Array = log_growth - excess / rate - (1 + power) * worth
    return value


def _searched_size(law: Law, theta: Array, budget: Array, unique: Array) -> Array:
    low = np.full(len(theta), _SEARCH[0])
    high = np.minimum(_SEARCH[1], budget - _SEARCH[0])
    grid = low[:, None] + (high - low)[:, None] * np.linspace(0, 1, _GRID)
    lowest = _loss_along(law, theta, budget, unique, grid).argmin(axis=1)
    step = (high - low) / (_GRID - 1)
    left = np.maximum(low, low + (lowest - 1) * step)
    right = np.minimum(high, low + (lowest + 1) * step)
    for _ in range(_GOLDEN_STEPS):
        inner = np.stack(
            [right - _GOLDEN * (right - left), left + _GOLDEN * (right - left)], axis=1
        )
        values = _loss_along(law, theta, budget, unique, inner)
        keep_left = values[:, 0] <= values[:, 1]
        right = np.where(keep_left, inner[:, 1], right)
        left = np.where(keep_left, left, inner[:, 0])
    middle: Array = 0.5 * (left + right)
    return middle


def _loss_along(law: Law, theta: Array, budget: Array, unique: Array, log_size: Array) -> Array:
    """Losses [S, M] of sizes [S, M] that spend each budget."""
    log_tokens = budget[:, None] - log_size
    log_unique = np.minimum(unique[:, None], log_tokens)
    points = Points(np.exp(log_size), np.exp(log_tokens), np.exp(log_unique))
    return np.exp(law.evaluate(theta, points)[0])


def predict(law: Law, theta: Array, points: Points) -> Array:
    """The predicted losses [S, n] in nats per token of parameter vectors [S, P] at n points.

    Unique tokens beyond those trained on are never seen and do not count.
    """
    seen = np.minimum(points.unique_tokens, points.tokens)
    return np.exp(law.evaluate(np.atleast_2d(theta), replace(points, unique_tokens=seen))[0])
