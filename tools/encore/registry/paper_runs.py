"""The paper's runs and their losses (runs.csv), and what is known of released checkpoints (released_steps.csv)."""

import functools
from dataclasses import dataclass
from pathlib import Path

from encore.registry import strict_csv
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class KnownRun:
    """A run of the paper; shape to global_step say what ran, as far as it is known (tokens is what the name says)."""

    name: str
    parameters: int
    tokens: int
    unique_tokens: int
    loss: float | None
    seed: int | None
    dedup: bool
    in_fit: bool
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
