"""registry/scaling.yml: the coefficients that the paper published."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class PublishedLaw:
    """Coefficients of the law of repetition; log_A, log_B, log_E are natural logarithms.

    exponent_R_D, exponent_R_N: of the law in which repetition lowers the exponents, same base.
    """

    log_A: float  # noqa: N815  the formula's letters
    log_B: float  # noqa: N815
    log_E: float  # noqa: N815
    alpha: float
    beta: float
    R_D: float
    R_N: float
    exponent_R_D: float  # noqa: N815
    exponent_R_N: float  # noqa: N815
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class _Scaling:
    published: PublishedLaw


@functools.cache
def load_published_law(folder: Path = FOLDER) -> PublishedLaw:
    """scaling.yml."""
    return strict_yaml.load(folder / "scaling.yml", _Scaling).published
