"""Scaling laws: the loss of a model of N parameters after D tokens, of which U are unique.

Each law is a sum of terms, L = Σ exp(t_k), with E = exp(e) the loss that no model goes below. Its
parameters are held as those of the fit: the logarithms of A, B, E, P, R_D, R_N, and the exponents
as they are. `evaluate` gives log L and its derivatives for many parameter vectors at once.

Units: N parameters, D and U tokens, L nats per token, R_D and R_N epochs (a ratio).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from encore.scaling.runs import Array, Points


@dataclass(frozen=True)
class Parameter:
    """One coefficient: its name, whether it is held as its logarithm, and where a fit may look."""

    name: str
    meaning: str
    is_log: bool
    lower: float
    upper: float

    def shown(self, coordinate: float) -> float:
        """Its value in the formula."""
        return float(np.exp(coordinate)) if self.is_log else coordinate

    def coordinate(self, value: float) -> float:
        """What the fit holds for a value of the formula; `value` above 0 where it is a log."""
        return float(np.log(value)) if self.is_log else value


_A = Parameter("A", "what too few parameters cost", True, -5, 40)
_B = Parameter("B", "what too few tokens cost", True, -5, 40)
_E = Parameter("E", "the loss that remains, nats per token", True, -6, 2)
_ALPHA = Parameter("alpha", "exponent of the parameters", False, 0.02, 3)
_BETA = Parameter("beta", "exponent of the tokens", False, 0.02, 3)
# beyond these bounds a repeated token is worth nothing, or as much as a fresh one
_R_D = Parameter("R_D", "repetitions after which a token is used up, R_D*", True, -4, 14)
_R_N = Parameter("R_N", "the same for excess parameters, R_N*", True, -4, 14)
_P = Parameter("P", "what repetition costs", True, -40, 10)
_DELTA = Parameter("delta", "exponent of the repetitions", False, 0.02, 5)
_KAPPA = Parameter("kappa", "exponent of parameters per unique token", False, 0.02, 5)


@dataclass(frozen=True)
class Effective:
    """log of what counts, and its derivatives by log of the base, and by log R*."""

    value: Array
    by_base: Array
    by_rate: Array


# a descent may try bases without bound; e^300 repetitions are as many as any
_LONGEST_GROWTH = 300.0

# (log base, log total, log R*) → what of `total` counts, where `base` is the part without repeats
Decay = Callable[[Array, Array, Array], Effective]


def exponential(base: Array, total: Array, rate: Array) -> Effective:
    """base·(1 + R*(1 − e^(−x/R*))), x = total/base − 1: equations 5 and 6 of the paper."""
    excess = np.expm1(np.minimum(total - base, _LONGEST_GROWTH))
    scale = np.exp(rate)
    ratio = excess / scale
    decayed = np.exp(-ratio)
    worth = 1 - scale * np.expm1(-ratio)
    by_base = 1 - (1 + excess) * decayed / worth
    by_rate = scale * (1 - decayed - ratio * decayed) / worth
    return Effective(base + np.log(worth), by_base, by_rate)


def geometric(base: Array, total: Array, rate: Array) -> Effective:
    """base·(1 − (1 − δ)^k)/δ, k = total/base, δ = 1/(1 + R*): each repeat keeps a share 1 − δ."""
    epochs = np.exp(np.minimum(total - base, _LONGEST_GROWTH))
    scale = np.exp(rate)
    log_kept = -np.log1p(1 / scale)
    left = np.exp(log_kept * epochs)
    worth = (1 + scale) * -np.expm1(log_kept * epochs)
    by_epochs = -(1 + scale) * log_kept * left
    by_rate = scale * (1 - left) - epochs * left
    return Effective(base + np.log(worth), 1 - epochs * by_epochs / worth, by_rate / worth)


def exponent(base: Array, total: Array, rate: Array) -> Effective:
    """total^max(0, 1 − x/R*): the exponent falls instead, the notebook's "negative decay"."""
    excess = np.expm1(np.minimum(total - base, _LONGEST_GROWTH))
    ratio = excess * np.exp(-rate)
    share = np.maximum(0.0, 1 - ratio)
    falls = share > 0
    by_base = np.where(falls, total * (1 + excess) * np.exp(-rate), 0.0)
    by_rate = np.where(falls, total * ratio, 0.0)
    return Effective(share * total, by_base, by_rate)


@dataclass(frozen=True)
class Terms:
    """The logarithms of a law's terms, [S, K, n], and their derivatives where they are not 0:
    (term, parameter, derivative, which broadcasts to [S, n]).
    """

    values: Array
    derivatives: list[tuple[int, int, Array | float]]


@dataclass(frozen=True)
class Law(ABC):
    """A law: name, formula, where it comes from, and its parameters in order."""

    name: str
    title: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...] = field(repr=False)

    @abstractmethod
    def terms(self, theta: Array, points: Points) -> Terms:
        """The terms for S parameter vectors `theta` [S, P] at n points."""

    def evaluate(self, theta: Array, points: Points) -> tuple[Array, Array]:
        """log L [S, n] and its derivatives by the parameters [S, P, n]."""
        terms = self.terms(theta, points)
        largest = terms.values.max(axis=1, keepdims=True)
        shares = np.exp(terms.values - largest)
        total = shares.sum(axis=1, keepdims=True)
        log_loss = (largest + np.log(total))[:, 0]
        shares /= total
        slopes = np.zeros((len(theta), len(self.parameters), log_loss.shape[-1]))
        for term, index, derivative in terms.derivatives:
            slopes[:, index] += shares[:, term] * derivative
        return log_loss, slopes

    def index(self, name: str) -> int:
        """Where a parameter stands in theta. Raises KeyError."""
        for index, parameter in enumerate(self.parameters):
            if parameter.name == name:
                return index
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters' names, in theta's order."""
        return tuple(parameter.name for parameter in self.parameters)


def optimal_size(
    a: Array, b: Array, alpha: Array, beta: Array, log_unique: Array
) -> tuple[Array, Array]:
    """log U_N, Chinchilla's best size for U unique tokens, and its derivatives [4, …] by a, b,
    alpha, beta: U_N = G (G U)^(β/α), G = (αA/(βB))^(1/(α+β)).
    """
    inverse = 1 / (alpha + beta)
    log_g = (np.log(alpha / beta) + a - b) * inverse
    ratio = beta / alpha
    value = log_g * (1 + ratio) + log_unique * ratio
    shape = value.shape
    by_g = 1 + ratio
    spread = log_g + log_unique
    derivatives = (
        by_g * inverse,
        -by_g * inverse,
        by_g * inverse * (1 / alpha - log_g) - spread * ratio / alpha,
        by_g * inverse * (-1 / beta - log_g) + spread / alpha,
    )
    return value, np.stack([np.broadcast_to(column, shape) for column in derivatives])


@dataclass(frozen=True)
class RepetitionLaw(Law):
    """E + A/N'^α + B/D'^β, where N' and D' are what counts of excess parameters and repeats."""

    size_decay: Decay | None = None
    data_decay: Decay | None = None

    def terms(self, theta: Array, points: Points) -> Terms:
        """See Law."""
        a, b, e, alpha, beta = (theta[:, index, None] for index in range(5))
        log_size, log_tokens = np.log(points.params), np.log(points.tokens)
        log_unique = np.log(points.unique_tokens)
        derivatives: list[tuple[int, int, Array | float]] = [(0, 0, 1), (1, 1, 1), (2, 2, 1)]

        size = log_size
        if self.size_decay is not None:
            rate_index = self.index("R_N")
            best, by_base = optimal_size(a, b, alpha, beta, log_unique)
            capped = best >= log_size
            base = np.where(capped, log_size, best)
            effective = self.size_decay(base, log_size, theta[:, rate_index, None])
            size = effective.value
            slope = np.where(capped, 0.0, -alpha * effective.by_base)
            for index, column in zip((0, 1, 3, 4), by_base, strict=True):
                derivatives.append((0, index, slope * column))
            derivatives.append((0, rate_index, -alpha * effective.by_rate))
        derivatives.append((0, 3, -size))

        tokens = log_tokens
        if self.data_decay is not None:
            rate_index = self.index("R_D")
            effective = self.data_decay(log_unique, log_tokens, theta[:, rate_index, None])
            tokens = effective.value
            derivatives.append((1, rate_index, -beta * effective.by_rate))
        derivatives.append((1, 4, -tokens))

        values = np.stack(
            np.broadcast_arrays(a - alpha * size, b - beta * tokens, e + 0 * log_size), axis=1
        )
        return Terms(values, derivatives)


@dataclass(frozen=True)
class PenaltyLaw(Law):
    """E + A/N^α + B/D^β + P·R^δ·(N/U)^κ with R = D/U − 1 repetitions."""

    def terms(self, theta: Array, points: Points) -> Terms:
        """See Law."""
        a, b, e, alpha, beta, p, delta, kappa = (theta[:, index, None] for index in range(8))
        log_size, log_tokens = np.log(points.params), np.log(points.tokens)
        log_unique = np.log(points.unique_tokens)
        repeats = np.maximum(points.tokens / points.unique_tokens - 1, 0)
        # without a repetition the term is 0: a logarithm so low that its share is 0
        log_repeats = np.log(np.maximum(repeats, 1e-300))
        per_token = log_size - log_unique
        derivatives: list[tuple[int, int, Array | float]] = [
            (0, 0, 1),
            (1, 1, 1),
            (2, 2, 1),
            (3, 5, 1),
            (0, 3, -log_size),
            (1, 4, -log_tokens),
            (3, 6, log_repeats),
            (3, 7, per_token),
        ]
        penalty = np.where(repeats > 0, p + delta * log_repeats + kappa * per_token, -700.0)
        rows = np.broadcast_arrays(
            a - alpha * log_size, b - beta * log_tokens, e + 0 * log_size, penalty
        )
        return Terms(np.stack(rows, axis=1), derivatives)


_PAPER = "Muennighoff et al. 2023, arXiv 2305.16264"
_NOTEBOOK = "datablations, utils/parametric_fit.ipynb, Compute R**2"
_BASE = (_A, _B, _E, _ALPHA, _BETA)

CHINCHILLA = RepetitionLaw(
    "chinchilla",
    "Chinchilla: every token counts as fresh",
    "L = E + A/N^alpha + B/D^beta",
    "Hoffmann et al. 2022, arXiv 2203.15556, equation 2",
    _BASE,
)
REPETITION = RepetitionLaw(
    "repetition",
    "repeated tokens and excess parameters decay exponentially",
    "L = E + A/N'^alpha + B/D'^beta, N' = U_N(1 + R_N(1 - e^(-x/R_N))), x = N/U_N - 1,"
    " D' = U(1 + R_D(1 - e^(-y/R_D))), y = D/U - 1, U_N = Chinchilla's best size for U",
    f"{_PAPER}, equations 5 and 6",
    (*_BASE, _R_D, _R_N),
    exponential,
    exponential,
)
DATA_ONLY = RepetitionLaw(
    "data-only",
    "only repeated tokens decay",
    "as repetition, with N' = N",
    f"{_NOTEBOOK}, decay data only",
    (*_BASE, _R_D),
    None,
    exponential,
)
SIZE_ONLY = RepetitionLaw(
    "parameters-only",
    "only excess parameters decay",
    "as repetition, with D' = D",
    f"{_NOTEBOOK}, decay params only",
    (*_BASE, _R_N),
    exponential,
    None,
)
GEOMETRIC = RepetitionLaw(
    "geometric",
    "each repetition keeps the same share of a token's worth",
    "as repetition, with D' = U(1 - (1 - d)^(D/U))/d, d = 1/(1 + R_D), and N' alike",
    f"{_NOTEBOOK}, Geometric",
    (*_BASE, _R_D, _R_N),
    geometric,
    geometric,
)
EXPONENT = RepetitionLaw(
    "exponent",
    "repetition lowers the exponents",
    "L = E + A/N^(alpha max(0, 1 - x/R_N)) + B/D^(beta max(0, 1 - y/R_D)), x, y as in repetition",
    f"{_NOTEBOOK}, Negative decay",
    (*_BASE, _R_D, _R_N),
    exponent,
    exponent,
)
PENALTY = PenaltyLaw(
    "penalty",
    "repetition adds a loss of its own, which can rise",
    "L = E + A/N^alpha + B/D^beta + P (D/U - 1)^delta (N/U)^kappa",
    "Lovelace et al. 2026, arXiv 2605.01640",
    (*_BASE, _P, _DELTA, _KAPPA),
)

LAWS: dict[str, Law] = {
    law.name: law
    for law in (CHINCHILLA, REPETITION, DATA_ONLY, SIZE_ONLY, GEOMETRIC, EXPONENT, PENALTY)
}
