"""A .bin cut into parts, and put together again: checked by hashes on the way, and resumed where a kill came.

`join` takes the kit's own parts and those of GNU split (huggingface/datablations cut its with `split --number=l/40`).
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from encore import files
from encore.errors import DataError, OutputError, UsageError
from encore.files import Progress, no_progress
from encore.threads import mapped
from encore.tokens import hashed_copy, part_manifest
from encore.tokens.hashed_copy import COPIERS
from encore.tokens.indexed import Index, IndexedDataset, bin_path, idx_path
from encore.tokens.part_manifest import BinPart

_COMMIT_BYTES = 1 << 30  # that a kill may cost; each commit waits for the disk


@dataclass(frozen=True)
class Joined:
    """What was joined, and what it was compared with: "hashes", "index" (its size alone) or "nothing".

    parts: how many there were; 0 when the whole was there already.
    """

    path: Path
    bytes: int
    parts: int
    checked: str


def join(prefix: Path, remove_parts: bool = False, progress: Progress = no_progress) -> Joined:
    """Put PREFIX.bin together from PREFIX.bin.aa, .ab and so on, which stay unless `remove_parts`.

    Before anything is written the parts are checked to be complete, by PREFIX.parts.json and PREFIX.idx as far as these
    are there. With `remove_parts` each part goes as soon as it is safe in the whole, so that there has to be free disk
    for three of them alone. Called again after a kill it goes on with the first part that was not safe yet.
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


def _total(parts: Sequence[BinPart]) -> int:
    return sum(part.bytes for part in parts)


def _planned(prefix: Path) -> tuple[list[BinPart], int]:
    """The parts, and how many of them are in the unfinished whole already."""
    target = bin_path(prefix)
    parts, done = part_manifest.read_journal(_journal(target), prefix)
    left = all(_size(target.with_name(part.name)) == part.bytes for part in parts[done:])
    if parts and left and _size(_unfinished(target)) >= _total(parts[:done]):
        return parts, done
    return part_manifest.read_manifest(prefix) or part_manifest.find(prefix), 0


def _size(path: Path) -> int:
    """-1 where there is no such file."""
    return path.stat().st_size if path.is_file() else -1


def _check(prefix: Path, parts: Sequence[BinPart], done: int) -> str:
    """Raise DataError unless all parts are there in full; returns what they can be compared with."""
    for part in parts[done:]:
        path = bin_path(prefix).with_name(part.name)
        if (found := _size(path)) != part.bytes:
            wrong = (
                f"has {found:,} bytes, the manifest says {part.bytes:,}"
                if found >= 0
                else "does not exist"
            )
            raise DataError(f"{path} {wrong}", "fetch it again")
    if idx_path(prefix).exists() and _total(parts) != (told := Index(prefix).bin_bytes):
        raise DataError(
            f"the {len(parts)} parts of {bin_path(prefix)} have {_total(parts):,} bytes, its .idx says {told:,}",
            "fetch the parts that are missing or not whole",
        )
    if all(part.xxh3_128 for part in parts):
        return "hashes"
    return "index" if idx_path(prefix).exists() else "nothing"


def _check_disk(target: Path, parts: Sequence[BinPart], remove_parts: bool) -> None:
    """Raise OutputError when the whole, or what is under way at a time where parts are removed, has no room."""
    sizes = [part.bytes for part in parts]
    under_way = max((sum(sizes[i : i + COPIERS + 1]) for i in range(len(sizes))), default=0)
    needed, free = under_way if remove_parts else sum(sizes), shutil.disk_usage(target.parent).free
    if needed > free:
        hint = (
            ""
            if remove_parts
            else f", or remove the parts on the way: {under_way:,} are enough then"
        )
        raise OutputError(
            f"{target} needs {needed:,} bytes of disk, {free:,} are free", f"free some disk{hint}"
        )


def _append(
    prefix: Path, parts: Sequence[BinPart], done: int, remove_parts: bool, progress: Progress
) -> None:
    """Write the parts from number `done` on behind what the unfinished whole holds of those before."""
    target = bin_path(prefix)
    paths = [target.with_name(part.name) for part in parts]
    ends = list(accumulate((part.bytes for part in parts), initial=0))

    def write(number: int) -> None:
        found = hashed_copy.copy(
            paths[number], 0, parts[number].bytes, _unfinished(target), ends[number], progress
        )
        if parts[number].xxh3_128 not in (None, found):
            raise DataError(
                f"{paths[number]} is damaged: its XXH3 is not the manifest's", "fetch it again"
            )

    safe = done
    with open(_unfinished(target), "r+b" if done else "wb") as whole:
        whole.truncate(ends[done])
        progress(ends[done])
        _unlink(
            paths[:done] if remove_parts else []
        )  # the kill came between their commit and their removal
        with contextlib.closing(mapped(write, range(done, len(parts)), COPIERS)) as written:
            for number, _ in enumerate(written, done + 1):
                if (
                    remove_parts
                    or ends[number] - ends[safe] >= _COMMIT_BYTES
                    or number == len(parts)
                ):
                    os.fsync(whole.fileno())
                    part_manifest.write_journal(_journal(target), parts, number)
                    _unlink(paths[safe:number] if remove_parts else [])
                    safe = number


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _joined_before(prefix: Path, remove_parts: bool) -> Joined:
    """What a finished join left; raises OutputError when the .bin there is not what its parts would make."""
    target = bin_path(prefix)
    found, there = _size(target), part_manifest.present(prefix)
    if idx_path(prefix).exists():
        told, checked = Index(prefix).bin_bytes, "index"
    else:
        parts = part_manifest.read_manifest(prefix) or (part_manifest.find(prefix) if there else [])
        told, checked = _total(parts) if parts else found, "nothing"
    if found != told:
        raise OutputError(
            f"{target} exists, with {found:,} bytes instead of {told:,}", "move it away"
        )
    if remove_parts and there:
        raise OutputError(
            f"{target} is there, and so are its parts",
            "remove one of the two; the .bin to join again",
        )
    for left in (_unfinished(target), _journal(target)):
        left.unlink(missing_ok=True)
    return Joined(target, told, 0, checked)


def split(
    prefix: Path,
    count: int | None = None,
    part_bytes: int | None = None,
    progress: Progress = no_progress,
) -> list[BinPart]:
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
            part_manifest.write_manifest(prefix, parts)
        except BaseException:
            _remove(target, plan)
            raise
        finally:
            marker.unlink()
    return parts


def _cut(
    dataset: IndexedDataset, prefix: Path, count: int | None, part_bytes: int | None
) -> list[BinPart]:
    tokens, width = len(dataset.tokens), dataset.dtype.itemsize
    if part_bytes is not None:
        if part_bytes < width:
            raise UsageError(
                f"parts of {part_bytes} bytes cannot hold a token of {width}", "give a larger size"
            )
        most = part_bytes // width
        lengths = [min(most, tokens - first) for first in range(0, tokens, most)] or [0]
    else:
        if count is None or not 1 <= count <= max(tokens, 1):
            raise UsageError(
                f"{tokens:,} tokens cannot be cut into {count} parts",
                f"give 1 to {max(tokens, 1):,}",
            )
        lengths = [tokens // count + (number < tokens % count) for number in range(count)]
    names = part_manifest.names(prefix, len(lengths))
    return [BinPart(name, length * width) for name, length in zip(names, lengths, strict=True)]


def _split_before(prefix: Path, plan: Sequence[BinPart]) -> list[BinPart] | None:
    """The manifest, where these very parts are there, and the .bin has not been written to since."""
    target, manifest = bin_path(prefix), part_manifest.read_manifest(prefix)
    if manifest is None or [replace(part, xxh3_128=None) for part in manifest] != list(plan):
        return None
    there = all(_size(target.with_name(part.name)) == part.bytes for part in plan)
    newer = target.stat().st_mtime_ns > part_manifest.manifest_path(prefix).stat().st_mtime_ns
    return manifest if there and not newer else None


def _make_room(prefix: Path, plan: Sequence[BinPart], marker: Path) -> None:
    """Clear what a killed split left, refuse what others did, and mark the parts as being written."""
    left, _ = part_manifest.read_journal(marker, prefix)
    others = part_manifest.present(prefix) - {part.name for part in left}
    if others:
        raise OutputError(
            f"{prefix} has parts already, {min(others)} among them",
            "move them away, with their .parts.json if any",
        )
    _remove(bin_path(prefix), left)
    part_manifest.write_journal(marker, plan, 0)
    part_manifest.manifest_path(prefix).unlink(missing_ok=True)


def _remove(target: Path, parts: Sequence[BinPart]) -> None:
    _unlink(target.with_name(name) for part in parts for name in (part.name, f".{part.name}.tmp"))


def _write_parts(target: Path, plan: Sequence[BinPart], progress: Progress) -> list[BinPart]:
    written = [
        (target.with_name(f".{part.name}.tmp"), target.with_name(part.name)) for part in plan
    ]
    starts = list(accumulate((part.bytes for part in plan), initial=0))

    def write(number: int) -> BinPart:
        part = plan[number]
        return replace(
            part,
            xxh3_128=hashed_copy.copy(
                target, starts[number], part.bytes, written[number][0], 0, progress
            ),
        )

    parts = list(mapped(write, range(len(plan)), COPIERS))
    for (
        temporary,
        _,
    ) in written:  # all of them first: a rename between would make each fsync wait for it
        files.fsync(temporary)
    for temporary, path in written:
        os.replace(temporary, path)
    files.fsync(target.parent)
    return parts
