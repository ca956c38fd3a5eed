"""Runs as their folders of TensorBoard event files: found, named and read.

A folder that holds event files is a run, as in TensorBoard: a file whose name has `tfevents` in it. Files are read in
the order of their names, which begin with the time at which they were made.
"""

import fnmatch
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encore.curves import curve as curves
from encore.curves import event_file
from encore.curves.curve import Curve
from encore.curves.tfrecord import Damage
from encore.errors import DataError, UnknownNameError

HOURS = "hours"
AXES = (*curves.AXES, HOURS)
_MARK = "tfevents"
_PREFIX = "tensorboard_"
_PLAIN = "tensorboard"


@dataclass(frozen=True)
class Run:
    """A run's curves by tag, and where files of it stopped to be readable."""

    name: str
    curves: dict[str, Curve]
    damage: tuple[Damage, ...] = ()

    @property
    def start_s(self) -> float:
        """When the first point was written, in seconds since the epoch."""
        return min(float(curve.times_s.min()) for curve in self.curves.values())

    def along(self, tag: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """The known places and the values of a curve along one of AXES; hours are those since the run's first point."""
        curve = self.curves[tag]
        if axis == HOURS:
            return (curve.times_s - self.start_s) / 3600, curve.values
        known = curve.known_along(axis)
        return np.asarray(known.axis(axis)), known.values

    def only(self, tags: Container[str]) -> "Run":
        """The run with these of its tags."""
        return Run(
            self.name,
            {tag: curve for tag, curve in self.curves.items() if tag in tags},
            self.damage,
        )


@dataclass(frozen=True)
class View:
    """How curves are drawn: along which of AXES, how much smoothed (0 to below 1), with a logarithmic y axis."""

    axis: str = "steps"
    smoothing: float = 0.0
    log_y: bool = False


def folders(paths: Sequence[Path]) -> dict[str, Path]:
    """The folders at or below `paths` that hold event files, by run name; raises DataError where there is none.

    A run is called as its folder, without the prefix `tensorboard_`, and as the folder above where it is called
    `tensorboard`; runs that would be called the same are told apart by the folders above them.
    """
    found = list(dict.fromkeys(folder.resolve() for path in paths for folder in _below(path)))
    names: dict[Path, str] = {}
    for depth in range(1, 1 + max(len(folder.parts) for folder in found)):
        uses = Counter(names.values())
        names = {
            folder: names[folder] if uses[names.get(folder)] == 1 else _name(folder, depth)
            for folder in found
        }
    uses = Counter(names.values())
    return {name if uses[name] == 1 else str(folder): folder for folder, name in names.items()}


def read(name: str, folder: Path, fold: bool = True) -> Run:
    """A run from its folder; `fold` as in `curves.of_files`. Raises DataError where nothing can be read."""
    files = [event_file.read(path) for path in _event_files(folder)]
    damage = tuple(file.damage for file in files if file.damage)
    found = curves.of_files(files, fold)
    if not found:
        told = f": {damage[0]}" if damage else ""
        raise DataError(
            f"{folder} holds no scalars{told}",
            "give the --tensorboard-dir of a run that has logged",
        )
    return Run(name, found, damage)


def read_all(folders: Mapping[str, Path], fold: bool = True) -> tuple[list[Run], list[DataError]]:
    """The runs that can be read, and why the others cannot; raises the first such error where none can."""
    found, errors = [], []
    for name, folder in folders.items():
        try:
            found.append(read(name, folder, fold))
        except DataError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found, errors


def with_tags(found: Sequence[Run], patterns: Sequence[str]) -> list[Run]:
    """The runs with the tags that match any of the patterns, as file names do; runs with none are left out.

    Raises UnknownNameError for a pattern that matches no tag.
    """
    names = {tag for run in found for tag in run.curves}
    matches = {
        pattern: {name for name in names if fnmatch.fnmatchcase(name, pattern)}
        for pattern in patterns
    }
    for pattern, matched in matches.items():
        if not matched:
            raise UnknownNameError("tag", pattern, names)
    chosen = set().union(*matches.values())
    return [run for run in (run.only(chosen) for run in found) if run.curves]


def _below(path: Path) -> list[Path]:
    if not path.is_dir():
        raise DataError(
            f"{path} is not a folder",
            "give the --tensorboard-dir of a run, or a folder of such folders",
        )
    found = sorted({file.parent for file in path.rglob(f"*{_MARK}*") if file.is_file()})
    if not found:
        raise DataError(
            f"{path} holds no event files", "give the --tensorboard-dir of a run that has logged"
        )
    return found


def _event_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{_MARK}*") if path.is_file())


def _name(folder: Path, depth: int) -> str:
    """The last `depth` parts of a path that say something."""
    parts = [part for part in folder.parts if part not in (_PLAIN, folder.anchor)] or [folder.name]
    return "/".join([*parts[:-1], parts[-1].removeprefix(_PREFIX) or parts[-1]][-depth:])
