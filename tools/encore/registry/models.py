"""The facts, typed: registry/*.yml, registry/*.csv and registry/corpora/*.yml as frozen records.

Each accessor reads its file once; `folder` names another registry folder. A record's `source` says where its facts
stand and `checked` when they were last looked up. Every accessor raises RegistryError with file and line for a file
that breaks its schema.
"""

import dataclasses
import datetime
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encore.registry import strict_csv, strict_yaml

FOLDER = Path(__file__).resolve().parents[3] / "registry"

Objective = Literal["causal", "ul2"]


@dataclass(frozen=True)
class Shape:
    """A model's dimensions; heads × kv_size may differ from d_model (Megatron's --kv-channels)."""

    name: str
    layers: int
    d_model: int
    ffw_size: int
    kv_size: int
    heads: int
    regime: Literal["paper", "laptop"] = "paper"


@dataclass(frozen=True)
class Label:
    """A parameter label of run names: the shape it stands for and the count that the results are stated with."""

    name: str
    shape: str
    parameters: int
    note: str = ""


@dataclass(frozen=True)
class Models:
    """All shapes ('140M') and labels ('146m')."""

    source: str
    checked: datetime.date
    shapes: dict[str, Shape]
    labels: dict[str, Label]

    def __post_init__(self) -> None:
        for label in self.labels.values():
            if label.shape not in self.shapes:
                raise ValueError(f"label {label.name} names the unknown shape {label.shape!r}")


@dataclass(frozen=True)
class Accelerator:
    """One device as a process sees it; peak of dense bf16 products, None where no figure is published."""

    name: str
    title: str
    vendor: Literal["amd", "nvidia", "cpu"]
    peak_bf16_flops: float | None
    memory_gib: float | None
    source: str
    checked: datetime.date
    note: str = ""


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer by its files' SHA-256; no files means that it is trained on the user's machine."""

    name: str
    vocabulary: int
    source: str
    checked: datetime.date
    files: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Pin:
    """A trainer at one commit: its entry point and its parser's arguments, those with values and the bare switches.

    tokenizer_type: what the entry point defaults to. adds: arguments that this objective needs. ignores_ranges: it
    takes 0.95:1 and reads all. warning: what a user of this commit has to read.
    """

    entry: str
    commit: str | None = None
    options: str = ""
    switches: str = ""
    tokenizer_type: str = "GPT2BPETokenizer"
    adds: str = ""
    ignores_ranges: bool = False
    warning: str = ""
    note: str = ""

    @functools.cached_property
    def with_value(self) -> frozenset[str]:
        """The arguments that take one value or several."""
        return frozenset(self.options.split())

    @functools.cached_property
    def without_value(self) -> frozenset[str]:
        """The bare switches."""
        return frozenset(self.switches.split())


@dataclass(frozen=True)
class Trainer:
    """A training program and what sets it apart from the others.

    data: how it is told its data. ranges: whether a part of a data set (0.95:1) can be named.
    exit_signal: the signal after which it saves and exits, with the argument that switches that on; None: it has none.
    stop_file_argument: the argument that names a file whose presence makes it save and exit.
    """

    name: str
    title: str
    repository: str
    vendors: tuple[str, ...]
    source: str
    checked: datetime.date
    commits: dict[Objective, Pin]
    data: Literal["weighted-split-paths", "data-path"]
    several_validation_sets: bool
    ranges: bool
    stop_file_argument: str
    exit_duration_argument: str
    exit_signal: str | None = None
    exit_signal_argument: str | None = None
    deepspeed: str = "open"
    torch: str = "open"
    note: str = ""


@dataclass(frozen=True)
class Files:
    """Where the .bin/.idx of a corpus lie, as prefixes below the data folder.

    subset: for a stated number of unique tokens, with {subset} for its label ('1B9'); whole: for all of it.
    """

    subset: str | None = None
    whole: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Validation:
    """A corpus's validation set: prefix below the data folder, the range of it that is used, its group's own name."""

    file: str
    start: float = 0.0
    end: float = 1.0
    group: str | None = None
    samples: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus: where its text comes from, how large it is, and where its tokenized forms lie.

    field: the key of the text in a document. samples: of the whole; tokens_per_sample: with GPT-2's tokenizer; None:
    open.
    validated_on: the corpora whose validation sets a run on this one is measured on; empty: itself.
    file_word: what names of data-path files call it, where that is not its name.
    """

    name: str
    title: str
    source: str
    checked: datetime.date
    files: Files
    hub: str | None = None
    hub_config: str | None = None
    hub_tokenized: tuple[str, ...] = ()
    licence: str | None = None
    field: str = "text"
    samples: int | None = None
    tokens_per_sample: float | None = None
    variants: dict[str, Files] = dataclasses.field(default_factory=dict)
    validation: Validation | None = None
    validated_on: tuple[str, ...] = ()
    file_word: str | None = None
    note: str = ""

    @property
    def tokens(self) -> int | None:
        """Tokens of the whole, with GPT-2's tokenizer; None where samples or tokens per sample are open."""
        if self.samples is None or self.tokens_per_sample is None:
            return None
        return round(self.samples * self.tokens_per_sample)


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


@dataclass(frozen=True)
class _Accelerators:
    accelerators: dict[str, Accelerator]


@dataclass(frozen=True)
class _Tokenizers:
    tokenizers: dict[str, Tokenizer]


@dataclass(frozen=True)
class _Trainers:
    trainers: dict[str, Trainer]


@functools.cache
def models(folder: Path = FOLDER) -> Models:
    """models.yml."""
    return strict_yaml.load(folder / "models.yml", Models)


@functools.cache
def accelerators(folder: Path = FOLDER) -> dict[str, Accelerator]:
    """accelerators.yml, by name."""
    return strict_yaml.load(folder / "accelerators.yml", _Accelerators).accelerators


@functools.cache
def tokenizers(folder: Path = FOLDER) -> dict[str, Tokenizer]:
    """tokenizers.yml, by name."""
    return strict_yaml.load(folder / "tokenizers.yml", _Tokenizers).tokenizers


@functools.cache
def trainers(folder: Path = FOLDER) -> dict[str, Trainer]:
    """trainers.yml, by name."""
    return strict_yaml.load(folder / "trainers.yml", _Trainers).trainers


@functools.cache
def corpora(folder: Path = FOLDER) -> dict[str, Corpus]:
    """corpora/*.yml, by file stem."""
    return {path.stem: strict_yaml.load(path, Corpus) for path in sorted((folder / "corpora").glob("*.yml"))}


@functools.cache
def runs(folder: Path = FOLDER) -> dict[str, KnownRun]:
    """runs.csv, by run name."""
    return strict_csv.load(folder / "runs.csv", KnownRun)


@functools.cache
def released_steps(folder: Path = FOLDER) -> dict[str, ReleasedStep]:
    """released_steps.csv, by run name."""
    return strict_csv.load(folder / "released_steps.csv", ReleasedStep)
