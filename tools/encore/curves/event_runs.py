"""Runs as folders of TensorBoard event files: found, named and read.

As in TensorBoard, a folder with event files is a run; an event file has `tfevents` in its name.
A run's files are read in the order of their names, which begin with their time of creation.
"""

import fnmatch
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from encore.curves import event_file, tags
from encore.curves.curve import Curve, merge_event_files
from encore.curves.tfrecord import Damage
from encore.curves.view import HOURS
from encore.errors import DataError, UnknownNameError

_EVENT_FILES = "*tfevents*"
# these parts of a path do not tell runs apart: `tensorboard_NAME` is the paper's layout
_PREFIX = "tensorboard_"
_PLAIN = "tensorboard"


@dataclass(frozen=True)
class EventRun:
    """A run's curves by tag, and where files of it are damaged."""

    name: str
    curves: dict[str, Curve]
    damage: tuple[Damage, ...] = ()

    # Cached: a page asks for it once per tag, and it looks at all of them.
    @cached_property
    def start_s(self) -> float:
        """When the first point was written, in seconds since the epoch."""
        return min(float(curve.times_s.min()) for curve in self.curves.values())

    @property
    def replaced(self) -> int:
        """The values that are left out, because others of their tag and step were written later."""
        return sum(curve.replaced for curve in self.curves.values())

    def along(self, tag: str, axis: str) -> tuple[np.ndarray, np.ndarray]:
        """The places and values of a curve along one of view.AXES, where the places are known.

        Hours are those since the run's first point.
        """
        curve = self.curves[tag]
        if axis == HOURS:
            return (curve.times_s - self.start_s) / 3600, curve.values
        curve = curve.known_along(axis)
        return np.asarray(curve.axis(axis)), curve.values

    def only(self, selected: Container[str]) -> "EventRun":
        """The run with these of its tags."""
        curves = {tag: curve for tag, curve in self.curves.items() if tag in selected}
        return EventRun(self.name, curves, self.damage)


def folders(paths: Sequence[Path]) -> dict[str, Path]:
    """The folders at or below `paths` that hold event files, by run name.

    A run has its folder's name without the prefix `tensorboard_`; where the folder is called
    `tensorboard`, the name of the folder above. Runs that would have the same name also get the
    names of the folders above them. Raises DataError for a path without event files.
    """
    below: list[Path] = []
    for path in paths:
        below.extend(folder.resolve() for folder in _folders_below(path))
    run_folders = list(dict.fromkeys(below))
    names = [_name(folder, 1) for folder in run_folders]
    # lengthen the names that are not unique, a folder at a time
    for depth in range(2, 1 + max(len(folder.parts) for folder in run_folders)):
        uses = Counter(names)
        for i, folder in enumerate(run_folders):
            if uses[names[i]] > 1:
                names[i] = _name(folder, depth)
    # `x/tensorboard_c` and `x/c` still share their name: only whole paths tell them apart
    uses = Counter(names)
    by_name = {}
    for name, folder in zip(names, run_folders, strict=True):
        if uses[name] > 1:
            name = str(folder)
        by_name[name] = folder
    return by_name


def read(name: str, folder: Path, fold: bool = True) -> EventRun:
    """A run from its folder; `fold` as in `curve.merge_event_files`.

    Raises DataError where nothing can be read.
    """
    paths = sorted(path for path in folder.glob(_EVENT_FILES) if path.is_file())
    files = []
    damage = []
    for path in paths:
        file = event_file.read(path)
        files.append(file)
        if file.damage:
            damage.append(file.damage)
    curves = merge_event_files(files, fold)
    if not curves:
        reason = f": {damage[0]}" if damage else ""
        raise DataError(
            f"{folder} holds no scalars{reason}",
            "give the --tensorboard-dir of a run that has logged",
        )
    return EventRun(name, curves, tuple(damage))


def read_all(
    folders: Mapping[str, Path], fold: bool = True
) -> tuple[list[EventRun], list[DataError]]:
    """The runs that can be read, and why the others cannot; raises the first error if none can."""
    runs = []
    errors = []
    for name, folder in folders.items():
        try:
            runs.append(read(name, folder, fold))
        except DataError as error:
            errors.append(error)
    if not runs:
        raise errors[0]
    return runs, errors


def with_tags(runs: Sequence[EventRun], patterns: Sequence[str]) -> list[EventRun]:
    """The runs with the tags that match any of the patterns (as file names do), if they have any.

    Raises UnknownNameError for a pattern that matches no tag.
    """
    all_tags = tags_of(runs)
    matches: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter(all_tags, pattern)
        if not matching:
            raise UnknownNameError("tag", pattern, all_tags)
        matches.update(matching)
    return _only(runs, matches)


def with_losses(runs: Sequence[EventRun]) -> list[EventRun]:
    """The runs with their training and validation losses alone, if they have any.

    Raises DataError where none has.
    """
    losses = tags.losses(tags_of(runs))
    if not losses:
        raise DataError(
            f"no run has {tags.TRAINING_LOSS!r} or a validation loss",
            "select tags with --tags PATTERN",
        )
    return _only(runs, losses)


def check_known_along(runs: Sequence[EventRun], axis: str) -> None:
    """Raise DataError where no point of any run is known along an axis, so that none is drawn."""
    for run in runs:
        for tag in run.curves:
            if len(run.along(tag, axis)[0]):
                return
    raise DataError(f"no {axis} are known of any point", "draw along steps: --x steps")


def tags_of(runs: Sequence[EventRun]) -> list[str]:
    """Every tag that any of the runs has, sorted."""
    all_tags: set[str] = set()
    for run in runs:
        all_tags.update(run.curves)
    return sorted(all_tags)


def _only(runs: Sequence[EventRun], selected: Container[str]) -> list[EventRun]:
    """The runs that have any of these tags, with these alone."""
    narrowed = []
    for run in runs:
        narrow_run = run.only(selected)
        if narrow_run.curves:
            narrowed.append(narrow_run)
    return narrowed


def _folders_below(path: Path) -> list[Path]:
    if not path.is_dir():
        raise DataError(
            f"{path} is not a folder",
            "give the --tensorboard-dir of a run, or a folder of such folders",
        )
    folders = {file.parent for file in path.rglob(_EVENT_FILES) if file.is_file()}
    if not folders:
        raise DataError(
            f"{path} holds no event files", "give the --tensorboard-dir of a run that has logged"
        )
    return sorted(folders)


def _name(folder: Path, depth: int) -> str:
    """The last `depth` parts of a path, without those that do not tell runs apart."""
    parts = [part for part in folder.parts if part not in (_PLAIN, folder.anchor)]
    if not parts:
        return folder.name
    last = parts[-1].removeprefix(_PREFIX) or parts[-1]
    return "/".join([*parts[:-1], last][-depth:])
