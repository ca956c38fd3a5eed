"""What the inputs of a command are: files, folders of files, datasets of the Hub.

Everything is looked at before anything is read. Loads nothing heavy.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from encore import hub_library
from encore.errors import DataError

_CONFIG = re.compile(r"[\w.-]+", re.ASCII)
# of a folder's files: what describes the data, and what a program or the system left there
_NOT_DATA = re.compile(
    r"[._].*|(?:readme|licen[cs]e|notice|citation|changelog)\b.*|.*\.md|dataset_infos?\.json",
    re.IGNORECASE,
)
# a word in a path that says what is held out from training, as `datasets` reads such names
_HELD_OUT = re.compile(
    r"(?<![a-z])(?:test|testing|valid|validation|dev|val|eval|evaluation)(?![a-z])", re.IGNORECASE
)


@dataclass(frozen=True)
class DatasetName:
    """A Hugging Face dataset and one of its configurations, None for its only or default one."""

    name: str
    config: str | None

    def __str__(self) -> str:
        if self.config is None:
            return self.name
        return f"{self.name}:{self.config}"


def parse_dataset(text: str) -> DatasetName | None:
    """The dataset that an input names; None where it is a path or has the form of neither."""
    name, colon, config = text.partition(":")
    if Path(text).exists() or not hub_library.may_be_repository(name):
        return None
    if not colon:
        return DatasetName(name, None)
    if not _CONFIG.fullmatch(config):
        return None
    return DatasetName(name, config)


def sources(inputs: Iterable[str]) -> list[Path | DatasetName]:
    """The files and datasets that the inputs are, in order, those of a folder by their paths.

    Raises DataError for an input that is neither, and for a folder whose files cannot all be read.
    """
    every: list[Path | DatasetName] = []
    for name in inputs:
        dataset = parse_dataset(name)
        if dataset is not None:
            every.append(dataset)
        elif Path(name).is_dir():
            every += _files_below(Path(name))[0]
        elif Path(name).exists():
            every.append(Path(name))
        else:
            raise DataError(
                f"{name} is neither a file or folder nor a dataset's name",
                "give an existing path, or a dataset as NAME or NAME:CONFIG",
            )
    return every


def describe_folder(name: str) -> str | None:
    """What is read of an input that is a folder, in words; None for another input."""
    if not Path(name).is_dir():
        return None
    paths, others = _files_below(Path(name))
    text = f"{name}: {len(paths):,} files, in the order of their paths"
    if others:
        text += f"; not taken for data: {', '.join(others)}"
    return text


def _files_below(folder: Path) -> tuple[list[Path], list[str]]:
    """The data files of a folder and of those in it, sorted by their paths, and what is ignored."""
    paths = []
    others = []
    for parent, folder_names, names in os.walk(folder, onerror=_raise):
        for name in sorted(folder_names):
            if _NOT_DATA.fullmatch(name):
                others.append(os.path.relpath(Path(parent, name), folder) + "/")
                folder_names.remove(name)
            elif Path(parent, name).is_symlink():
                raise DataError(
                    f"{Path(parent, name)} is a link to a folder, which would not be read",
                    f"name the folder that it leads to as an input, beside {folder}",
                )
        for name in names:
            if _NOT_DATA.fullmatch(name):
                others.append(os.path.relpath(Path(parent, name), folder))
            else:
                paths.append(Path(parent, name))
    if not paths:
        raise DataError(f"{folder} holds no data files", f"see what is there with: ls -RA {folder}")
    paths.sort()
    _check_one_split(folder, paths)
    return paths, sorted(others)


def _raise(error: OSError) -> None:
    # os.walk would go on without the folder
    raise error


def _check_one_split(folder: Path, paths: Iterable[Path]) -> None:
    """Raise DataError where some files, by their names, are held out from the training data."""
    held_out: list[str] = []
    others: list[str] = []
    for path in paths:
        relative = str(path.relative_to(folder))
        names = held_out if _HELD_OUT.search(relative) else others
        names.append(relative)
    if held_out and others:
        raise DataError(
            f"{folder} seems to hold more than one split: {held_out[0]} ({len(held_out):,} such"
            f" files), {others[0]} ({len(others):,})",
            "name the files themselves, or the folder of one split",
        )
