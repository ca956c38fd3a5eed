"""registry/trainers.yml: training programs at pinned commits, and the arguments each accepts."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER, Objective, Vendor


@dataclass(frozen=True)
class Pin:
    """A trainer at one commit.

    entry: its program, in the repository. options, switches: the arguments of its parser, with and
    without values. tokenizer_type: the default of its entry point. adds: arguments that the
    objective needs. tensor_parallel, pipeline_parallel: whether it can be divided in these ways.
    ignores_ranges: accepts 0.95:1 in a data path and reads everything. warning: what a user of this
    commit has to know.
    """

    entry: str
    # None: the built-in trainer, which is in this repository
    commit: str | None = None
    # text as the forks' parsers print it, so that a new commit is a paste away
    options: str = ""
    switches: str = ""
    tokenizer_type: str = "GPT2BPETokenizer"
    adds: str = ""
    tensor_parallel: bool = True
    pipeline_parallel: bool = True
    ignores_ranges: bool = False
    warning: str = ""
    note: str = ""

    @functools.cached_property
    def with_value(self) -> frozenset[str]:
        """The arguments with one or more values."""
        return frozenset(self.options.split())

    @functools.cached_property
    def without_value(self) -> frozenset[str]:
        """The bare switches."""
        return frozenset(self.switches.split())


@dataclass(frozen=True)
class Trainer:
    """A training program, and how its command line differs from the others'.

    data: the form in which it accepts its data. ranges: whether it can read a part of a data set
    (0.95:1). counts: by what a resumed run knows how much is left. exit_signal: the signal after
    which it saves and exits, if exit_signal_argument is given; None: it has none.
    stop_file_argument: names a file at whose sight it saves and exits.
    """

    name: str
    title: str
    repository: str
    vendors: tuple[Vendor, ...]
    source: str
    checked: datetime.date
    commits: dict[Objective, Pin]
    # how it is told its data
    data: Literal["weighted-split-paths", "data-path"]
    several_validation_sets: bool
    ranges: bool
    counts: Literal["steps", "samples"]
    # how it is made to save and exit
    stop_file_argument: str
    exit_duration_argument: str
    exit_signal: str | None = None
    exit_signal_argument: str | None = None
    note: str = ""


@dataclass(frozen=True)
class _Trainers:
    trainers: dict[str, Trainer]


@functools.cache
def load_trainers(folder: Path = FOLDER) -> dict[str, Trainer]:
    """trainers.yml, by name."""
    return strict_yaml.load(folder / "trainers.yml", _Trainers).trainers
