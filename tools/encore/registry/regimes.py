"""registry/training.yml: families of training defaults."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class BatchSize:
    """The global batch of models below a size; without `below_parameters`, of all larger ones."""

    sequences: int
    below_parameters: int | None = None


@dataclass(frozen=True)
class RegimeData:
    """What is trained on unless the name says otherwise."""

    corpus: str
    tokenizer: str
    sequence_length: int
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class RegimeBatch:
    """Sequences per step by model size, and the largest micro-batch worth trying."""

    sizes: tuple[BatchSize, ...]
    largest_micro_batch: int
    least_sequences_per_gpu: int  # how far a step is spread when the number of nodes is left open
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class RegimeOptimizer:
    """Learning rate, schedule, Adam, regularisation, precision."""

    lr: float
    min_lr: float
    lr_decay_style: str
    warmup_fraction: float
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    weight_decay: float
    clip_grad: float
    dropout: float
    seed: int
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class RegimeCadence:
    """Steps between log lines, validations and checkpoints; batches per validation."""

    log_interval: int
    eval_interval: int
    eval_iters: int
    saves_per_run: int
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Regime:
    """A family of training defaults; each of its numbers can be overridden."""

    data: RegimeData
    batch: RegimeBatch
    optimizer: RegimeOptimizer
    cadence: RegimeCadence


@dataclass(frozen=True)
class _Regimes:
    regimes: dict[str, Regime]


@functools.cache
def load_regimes(folder: Path = FOLDER) -> dict[str, Regime]:
    """The families of training defaults by name."""
    return strict_yaml.load(folder / "training.yml", _Regimes).regimes
