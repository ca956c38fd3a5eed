"""registry/training.yml: families of training defaults."""

import datetime
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER
from encore.registry.setting import setting


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
class Optimizer:
    """Learning rate, schedule, Adam, regularisation."""

    lr: float = field(metadata=setting("peak learning rate", above=0, most=1))
    min_lr: float = field(
        metadata=setting("learning rate at the end of the decay", least=0, most=1)
    )
    lr_decay_style: Literal["cosine", "linear", "constant"] = field(
        metadata=setting("shape of the learning rate's decay")
    )
    warmup_fraction: float = field(
        metadata=setting("share of the samples that warm up the learning rate", least=0, below=1)
    )
    adam_beta1: float = field(
        metadata=setting("Adam's decay of the first moment", above=0, below=1)
    )
    adam_beta2: float = field(
        metadata=setting("Adam's decay of the second moment", above=0, below=1)
    )
    adam_eps: float = field(
        metadata=setting("Adam's term for numerical stability", above=0, most=1)
    )
    weight_decay: float = field(metadata=setting("decoupled weight decay", least=0, most=1))
    clip_grad: float = field(
        metadata=setting("norm that gradients are clipped to; 0: no clipping", least=0, most=1e6)
    )
    dropout: float = field(metadata=setting("of attention and hidden states", least=0, below=1))
    # the trainers refuse 0; numpy takes 32 bits, and the trainers add a little for each stage
    seed: int = field(metadata=setting("of weights, dropout and data order", least=1, most=2e9))
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Cadence:
    """Steps between log lines, validations and checkpoints; batches per validation."""

    log_interval: int = field(
        metadata=setting("between log lines", unit="steps", least=1, most=1e9)
    )
    eval_interval: int = field(
        metadata=setting("between validations", unit="steps", least=1, most=1e9)
    )
    eval_iters: int = field(metadata=setting("per validation", unit="batches", least=1, most=1e6))
    saves_per_run: int = field(
        metadata=setting(
            "per run, unless save_interval is set", unit="checkpoints", least=1, most=1e6
        )
    )
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Regime:
    """A family of training defaults; each of its numbers can be overridden."""

    data: RegimeData
    batch: RegimeBatch
    optimizer: Optimizer
    cadence: Cadence


@dataclass(frozen=True)
class _Regimes:
    regimes: dict[str, Regime]


@functools.cache
def load_regimes(folder: Path = FOLDER) -> dict[str, Regime]:
    """The families of training defaults by name."""
    return strict_yaml.load(folder / "training.yml", _Regimes).regimes
