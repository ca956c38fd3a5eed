"""registry/paper/: the published numbers behind the paper's figures and tables."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from encore.registry import strict_csv, strict_yaml
from encore.registry.folder import FOLDER

Record = TypeVar("Record")


@dataclass(frozen=True)
class PaperItem:
    """A figure or table: its number, what it shows, and the files of registry/ that it needs."""

    name: str
    number: str
    title: str
    data: tuple[str, ...]
    caption: str
    open: str = ""


@dataclass(frozen=True)
class PaperIndex:
    """figures.yml."""

    source: str
    checked: datetime.date
    figures: dict[str, PaperItem]
    tables: dict[str, PaperItem]


@dataclass(frozen=True)
class CurvePoint:
    """A point of a loss curve; epochs: passes at the end of the run."""

    figure_file: str
    corpus: str
    family: str
    epochs: float
    run: str
    tokens: float
    loss: float
    ema_weight: float


@dataclass(frozen=True)
class MixPoint:
    """A point of a validation curve of a run with a share of Python."""

    figure_file: str
    validation_set: str
    python_pct: int
    run: str
    tokens: float
    loss: float


@dataclass(frozen=True)
class FilterPoint:
    """A point of a curve of a run on filtered data."""

    figure_file: str
    loss_kind: str
    strategy: str
    epochs: float
    run: str
    tokens: float
    loss: float
    ema_weight: float


@dataclass(frozen=True)
class HistogramBin:
    """How many of 100,000 documents have a perplexity between two bounds."""

    corpus: str
    bin_left: float
    bin_right: float
    count: int


@dataclass(frozen=True)
class Percentile:
    """A percentile of a corpus's perplexity."""

    corpus: str
    percentile: str
    perplexity: float


@dataclass(frozen=True)
class StrategyScore:
    """The average over 19 tasks of a way to fill a data budget."""

    strategy: str
    run: str
    unique_data_tokens: float
    data_budget_pct: float
    average_19_tasks: float
    std: float | None
    n_runs: int


@dataclass(frozen=True)
class MupPoint:
    """Losses of one shape under muP and under the standard parametrisation."""

    config: str
    params: int
    hidden_size: int
    n_heads: int
    n_layers: int
    batch_size: int
    loss_mup: float
    loss_sp: float


@dataclass(frozen=True)
class RepetitionScore:
    """A task's score after training with repeated data, in percent."""

    family: str
    corpus: str
    epochs: int
    run: str
    task: str
    metric: str
    mean: float | None
    std: float | None
    n_runs: int
    source: str


@dataclass(frozen=True)
class CodeScore:
    """A task's score after training with a share of Python, in percent."""

    family: str
    corpus: str
    python_pct: int
    run: str
    task: str
    metric: str
    mean: float | None
    std: float | None
    n_runs: int | None
    source: str


@dataclass(frozen=True)
class FilterScore:
    """A task's score after training on filtered data, in percent."""

    params: str
    corpus: str
    filter: str
    run: str
    task: str
    metric: str
    mean: float | None
    std: float | None
    n_runs: int | None
    source: str


@functools.cache
def load_paper_index(folder: Path = FOLDER) -> PaperIndex:
    """What can be drawn, by name."""
    return strict_yaml.load(folder / "paper" / "figures.yml", PaperIndex)


@functools.cache
def load_points(name: str, record: type[Record], folder: Path = FOLDER) -> list[Record]:
    """The rows of registry/paper/NAME.csv."""
    return strict_csv.rows(folder / "paper" / f"{name}.csv", record)
