"""A .bin cut into parts, and put together again: checked by hashes on the way, and resumed where a kill came.

`join` takes the kit's own parts and those of GNU split (huggingface/datablations cut its with `split --number=l/40`).
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from encore import files, part_lists
from encore.copying import Behind, Copier, Progress, silent
from encore.errors import DataError, OutputError, UsageError
from encore.indexed import Index, IndexedDataset, bin_path, idx_path
from encore.part_lists import Part


@dataclass(frozen=True)
class Joined:
    """What was joined, and what it was compared with: "hashes", "index" (its size alone) or "nothing".

    parts: how many there were; 0 when the whole was there already.
    """

    path: Path
    bytes: int
    parts: int
    checked: str


def join(prefix: Path, remove_parts: bool = False, progress: Progress = silent) -> Joined:
    """Put PREFIX.bin together from PREFIX.bin.aa, .ab and so on, which stay unless `remove_parts`.

    Before anything is written the parts are checked to be complete, by PREFIX.parts.json and PREFIX.idx as far as these
    are there. With `remove_parts` each part goes as soon as it is safe in the whole, so that free disk for two of them
    is enough. Called again after a kill it goes on with the first part that was not safe yet.
    Raises DataError for a missing or damaged part, OutputError for a disk too small or a PREFIX.bin that differs.
    """
    prefix = Path(prefix)
    target = bin_path(prefix)
    if not target.parent.is_dir():
        raise DataError(f"{target.parent} does not exist", "check the path")
    with files.exclusive(target):
        if target.exists():
            return _joined_before(prefix, remove_parts)
        parts, done = _planned(prefix)
        checked = _check(prefix, parts, done)
        _check_disk(target, parts[done:], remove_parts)
        _append(prefix, parts, done, remove_parts, progress)
        os.replace(_unfinished(target), target)
        files.fsync(target.parent)
        _journal(target).unlink()
    return Joined(target, _total(parts), len(parts), checked)


def _unfinished(target: Path) -> Path:
    return target.with_name(f".{target.name}.joining")


def _journal(target: Path) -> Path:
    return target.with_name(f".{target.name}.joining.json")


def _total(parts: Sequence[Part]) -> int:
    return sum(part.bytes for part in parts)


def _planned(prefix: Path) -> tuple[list[Part], int]:
    """The parts, and how many of them are in the unfinished whole already."""
    target = bin_path(prefix)
    parts, done = part_lists.read_journal(_journal(target), prefix)
    left = all(_size(target.with_name(part.name)) == part.bytes for part in parts[done:])
    if parts and left and _size(_unfinished(target)) >= _total(parts[:done]):
        return parts, done
    return part_lists.read_manifest(prefix) or part_lists.find(prefix), 0


def _size(path: Path) -> int:
    """-1 where there is no such file."""
    return path.stat().st_size if path.is_file() else -1


def _check(prefix: Path, parts: Sequence[Part], done: int) -> str:
    """Raise DataError unless all parts are there in full; returns what they can be compared with."""
    for part in parts[done:]:
        path = bin_path(prefix).with_name(part.name)
        if (found := _size(path)) != part.bytes:
            wrong = f"has {found:,} bytes, the manifest says {part.bytes:,}" if found >= 0 else "does not exist"
            raise DataError(f"{path} {wrong}", "fetch it again")
    if idx_path(prefix).exists() and _total(parts) != (told := Index(prefix).bin_bytes):
        raise DataError(
            f"the {len(parts)} parts of {bin_path(prefix)} have {_total(parts):,} bytes, its .idx says {told:,}",
            "fetch the parts that are missing or not whole",
        )
    if all(part.blake3 for part in parts):
        return "hashes"
    return "index" if idx_path(prefix).exists() else "nothing"


def _check_disk(target: Path, parts: Sequence[Part], remove_parts: bool) -> None:
    """Raise OutputError when the whole, or two parts of it where they are removed on the way, have no room."""
    two = max((a.bytes + b.bytes for a, b in pairwise(parts)), default=_total(parts))
    needed, free = two if remove_parts else _total(parts), shutil.disk_usage(target.parent).free
    if needed > free:
        hint = (
            "free some disk" if remove_parts else f"free some disk, or remove the parts on the way: {two:,} are enough"
        )
        raise OutputError(f"{target} needs {needed:,} bytes of disk, {free:,} are free", hint)


def _append(prefix: Path, parts: Sequence[Part], done: int, remove_parts: bool, progress: Progress) -> None:
    """Write the parts from number `done` on behind what the unfinished whole holds of those before."""
    target = bin_path(prefix)
    paths = [target.with_name(part.name) for part in parts]

    def commit(number: int) -> None:
        os.fsync(whole.fileno())
        part_lists.write_journal(_journal(target), parts, number)
        if remove_parts:
            paths[number - 1].unlink()

    for path in paths[:done] if remove_parts else ():
        path.unlink(missing_ok=True)  # the kill came between its commit and its removal
    at = _total(parts[:done])
    progress(at)
    with open(_unfinished(target), "r+b" if done else "wb") as whole, Behind() as behind, Copier(progress) as copier:
        for number, (part, path) in enumerate(zip(parts[done:], paths[done:], strict=True), done + 1):
            with open(path, "rb") as source:
                found = copier.copy(source, 0, part.bytes, whole, at)
            if part.blake3 not in (None, found):
                raise DataError(f"{path} is damaged: its BLAKE3 is not the manifest's", "fetch it again and join again")
            at += part.bytes
            behind.do(commit, number)
    os.truncate(_unfinished(target), at)


def _joined_before(prefix: Path, remove_parts: bool) -> Joined:
    """What a finished join left; raises OutputError when the .bin there is not what its parts would make."""
    target = bin_path(prefix)
    found, there = _size(target), part_lists.present(prefix)
    if idx_path(prefix).exists():
        told, checked = Index(prefix).bin_bytes, "index"
    else:
        parts = part_lists.read_manifest(prefix) or (part_lists.find(prefix) if there else [])
        told, checked = _total(parts) if parts else found, "nothing"
    if found != told:
        raise OutputError(f"{target} exists, with {found:,} bytes instead of {told:,}", "move it away")
    if remove_parts and there:
        raise OutputError(f"{target} is there, and so are its parts", "remove one of the two; the .bin to join again")
    for left in (_unfinished(target), _journal(target)):
        left.unlink(missing_ok=True)
    return Joined(target, told, 0, checked)


def split(
    prefix: Path, count: int | None = None, part_bytes: int | None = None, progress: Progress = silent
) -> list[Part]:
    """Cut PREFIX.bin, which stays, into `count` parts of nearly one size, or into parts of at most `part_bytes`.

    No token is cut. PREFIX.parts.json is written last. A killed call is done over by the next one.
    Raises UsageError for parts that cannot be, OutputError when there are others already.
    """
    prefix = Path(prefix)
    plan = _cut(IndexedDataset(prefix), prefix, count, part_bytes)
    target = bin_path(prefix)
    with files.exclusive(target):
        marker = target.with_name(f".{target.name}.splitting.json")
        if (manifest := _split_before(prefix, plan)) is not None:
            marker.unlink(missing_ok=True)
            return manifest
        _make_room(prefix, plan, marker)
        try:
            parts = _write_parts(target, plan, progress)
            part_lists.write_manifest(prefix, parts)
        except BaseException:
            _remove(target, plan)
            raise
        finally:
            marker.unlink()
    return parts


def _cut(dataset: IndexedDataset, prefix: Path, count: int | None, part_bytes: int | None) -> list[Part]:
    tokens, width = len(dataset.tokens), dataset.dtype.itemsize
    if part_bytes is not None:
        if part_bytes < width:
            raise UsageError(f"parts of {part_bytes} bytes cannot hold a token of {width}", "give a larger size")
        most = part_bytes // width
        lengths = [min(most, tokens - first) for first in range(0, tokens, most)] or [0]
    else:
        if count is None or not 1 <= count <= max(tokens, 1):
            raise UsageError(f"{tokens:,} tokens cannot be cut into {count} parts", f"give 1 to {max(tokens, 1):,}")
        lengths = [tokens // count + (number < tokens % count) for number in range(count)]
    names = part_lists.names(prefix, len(lengths))
    return [Part(name, length * width) for name, length in zip(names, lengths, strict=True)]


def _split_before(prefix: Path, plan: Sequence[Part]) -> list[Part] | None:
    """The manifest, where these very parts are there."""
    manifest = part_lists.read_manifest(prefix) or []
    same = [replace(part, blake3=None) for part in manifest] == list(plan)
    there = all(_size(bin_path(prefix).with_name(part.name)) == part.bytes for part in plan)
    return manifest if same and there else None


def _make_room(prefix: Path, plan: Sequence[Part], marker: Path) -> None:
    """Clear what a killed split left, refuse what others did, and mark the parts as being written."""
    left, _ = part_lists.read_journal(marker, prefix)
    others = part_lists.present(prefix) - {part.name for part in left}
    if others:
        raise OutputError(
            f"{prefix} has parts already, {min(others)} among them", "move them away, with their .parts.json if any"
        )
    _remove(bin_path(prefix), left)
    part_lists.write_journal(marker, plan, 0)
    part_lists.manifest_path(prefix).unlink(missing_ok=True)


def _remove(target: Path, parts: Sequence[Part]) -> None:
    for part in parts:
        for name in (part.name, f".{part.name}.tmp"):
            target.with_name(name).unlink(missing_ok=True)


def _write_parts(target: Path, plan: Sequence[Part], progress: Progress) -> list[Part]:
    parts, at = [], 0

    def commit(temporary: Path, path: Path) -> None:
        files.fsync(temporary)
        os.replace(temporary, path)

    with open(target, "rb") as whole, Behind() as behind, Copier(progress) as copier:
        for part in plan:
            path, temporary = target.with_name(part.name), target.with_name(f".{part.name}.tmp")
            with open(temporary, "wb") as out:
                digest = copier.copy(whole, at, part.bytes, out, 0)
            behind.do(commit, temporary, path)
            parts.append(replace(part, blake3=digest))
            at += part.bytes
    files.fsync(target.parent)
    return parts
