"""registry/trainers.yml: training programs at their pinned commits, and the arguments that each accepts."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER, Objective


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
class _Trainers:
    trainers: dict[str, Trainer]


@functools.cache
def load_trainers(folder: Path = FOLDER) -> dict[str, Trainer]:
    """trainers.yml, by name."""
    return strict_yaml.load(folder / "trainers.yml", _Trainers).trainers
