"""The paper's runs and losses (runs.csv), and what is known of its other released checkpoints."""

import functools
from dataclasses import dataclass
from pathlib import Path

from encore.registry import strict_csv
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class KnownRun:
    """A run of the paper.

    tokens: what its name says. loss: nats per token; None: unfinished. in_fit: whether the paper's
    scaling law is fitted to it. shape to global_step: the run that was released, as far as known.
    """

    name: str
    parameters: int
    tokens: int
    unique_tokens: int
    loss: float | None
    in_fit: bool
    # a label does not always name the shape that ran, nor the name the tokens
    shape: str | None
    train_samples: int | None
    global_batch_size: int | None
    global_step: int | None
    note: str


@dataclass(frozen=True)
class ReleasedStep:
    """What is known of a released run that runs.csv does not list."""

    name: str
    shape: str | None
    tokens: int | None
    unique_tokens: int | None
    loss: float | None
    train_samples: int | None
    global_batch_size: int | None
    global_step: int | None
    source: str
    note: str


@functools.cache
def load_runs(folder: Path = FOLDER) -> dict[str, KnownRun]:
    """runs.csv, by run name."""
    return strict_csv.load(folder / "runs.csv", KnownRun)


@functools.cache
def load_released_steps(folder: Path = FOLDER) -> dict[str, ReleasedStep]:
    """released_steps.csv, by run name."""
    return strict_csv.load(folder / "released_steps.csv", ReleasedStep)
