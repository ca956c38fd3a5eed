"""A .bin cut into parts and joined again: checked by hashes on the way, resumed after a kill.

`join` accepts the kit's own parts and those of GNU split; huggingface/datablations cut its .bin
files with `split --number=l/40`.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from encore import data_file, files
from encore.errors import DataError, EncoreError, OutputError, UsageError
from encore.files import Progress, no_progress
from encore.threads import mapped
from encore.tokens import hashed_copy, part_manifest
from encore.tokens.hashed_copy import COPIERS
from encore.tokens.indexed import Index, IndexedDataset, bin_path, idx_path
from encore.tokens.part_manifest import BinPart

# What a kill may cost. Each commit waits for the disk.
_COMMIT_BYTES = 1 << 30


@dataclass(frozen=True)
class Joined:
    """A joined .bin: its parts, 0 where an earlier run had joined them, and how it was checked.

    checked: against "hashes" of the parts, the "index" (the size alone), or "nothing".
    """

    path: Path
    bytes: int
    parts: int
    checked: str


def join(prefix: Path, remove_parts: bool = False, progress: Progress = no_progress) -> Joined:
    """Join PREFIX.bin.aa, .ab and so on to PREFIX.bin; the parts stay unless `remove_parts`.

    Before anything is written the parts are checked to be complete, against PREFIX.parts.json and
    PREFIX.idx where these exist. With `remove_parts` each part is deleted once its copy is on the
    disk, so that space for three parts is enough. After a kill, the next call resumes with the
    first part that was not yet on the disk. Raises DataError for a missing or damaged part,
    OutputError where the disk is too small or another PREFIX.bin exists.
    """
    prefix = Path(prefix)
    target = bin_path(prefix)
    if not target.parent.is_dir():
        raise DataError(f"{target.parent} does not exist", "give the prefix of a .bin's parts")
    with files.exclusive(target):
        if target.exists():
            return _joined_earlier(prefix, remove_parts)
        parts, finished = _plan_join(prefix)
        checked = _check_parts(prefix, parts, finished)
        _check_disk(target, parts[finished:], remove_parts)
        _append(prefix, parts, finished, remove_parts, progress)
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


def _starts(parts: Sequence[BinPart]) -> list[int]:
    """Where each part starts in the .bin, and last where the .bin ends."""
    return list(accumulate((part.bytes for part in parts), initial=0))


def _size(path: Path) -> int:
    """The size of a file, -1 where there is none."""
    if not path.is_file():
        return -1
    return path.stat().st_size


def _have_their_sizes(parts: Iterable[BinPart], folder: Path) -> bool:
    return all(_size(folder / part.name) == part.bytes for part in parts)


def _plan_join(prefix: Path) -> tuple[list[BinPart], int]:
    """The parts, and how many of them the unfinished .bin of a killed run holds already."""
    target = bin_path(prefix)
    parts, finished = part_manifest.read_journal(_journal(target), prefix)
    # A journal is of no use once its parts were replaced by others, or its .bin was removed.
    same_parts = _have_their_sizes(parts[finished:], target.parent)
    if parts and same_parts and _size(_unfinished(target)) >= _total(parts[:finished]):
        return parts, finished
    return part_manifest.read_manifest(prefix) or part_manifest.find(prefix), 0


def _check_parts(prefix: Path, parts: Sequence[BinPart], finished: int) -> str:
    """What the copy will be checked against; raises DataError unless all parts are complete."""
    target = bin_path(prefix)
    for part in parts[finished:]:
        path = target.with_name(part.name)
        if not path.exists():
            raise DataError(f"{path} does not exist", f"fetch {path.name}")
        size = data_file.check(path)
        if size != part.bytes:
            raise DataError(
                f"{path} has {size:,} bytes, the manifest says {part.bytes:,}",
                f"fetch {path.name} again",
            )
    has_index = idx_path(prefix).exists()
    if has_index:
        stated = Index(prefix).bin_bytes
        if _total(parts) != stated:
            raise DataError(
                f"the {len(parts)} parts of {target} have {_total(parts):,} bytes, its .idx says"
                f" {stated:,}",
                "fetch the parts that are missing or incomplete",
            )
    if all(part.xxh3_128 for part in parts):
        return "hashes"
    if has_index:
        return "index"
    return "nothing"


def _check_disk(target: Path, parts: Sequence[BinPart], remove_parts: bool) -> None:
    """Raise OutputError where the disk lacks room for what the join needs at once."""
    # with `remove_parts`: the copies under way, and one that waits for its commit
    largest_window = 0
    for first in range(len(parts)):
        largest_window = max(largest_window, _total(parts[first : first + COPIERS + 1]))
    required = _total(parts)
    hint = f"free disk space, or add --remove-parts: {largest_window:,} are enough then"
    if remove_parts:
        required = largest_window
        hint = "free disk space"
    free = shutil.disk_usage(target.parent).free
    if required > free:
        raise OutputError(f"{target} needs {required:,} bytes of disk, {free:,} are free", hint)


def _append(
    prefix: Path, parts: Sequence[BinPart], finished: int, remove_parts: bool, progress: Progress
) -> None:
    """Append the parts to the unfinished .bin, which holds the first `finished` of them."""
    target = bin_path(prefix)
    paths = [target.with_name(part.name) for part in parts]
    starts = _starts(parts)

    def append(i: int) -> None:
        part = parts[i]
        digest = hashed_copy.copy(paths[i], 0, part.bytes, _unfinished(target), starts[i], progress)
        if part.xxh3_128 not in (None, digest):
            raise DataError(
                f"{paths[i]} is damaged: its XXH3 is not the manifest's",
                f"fetch {part.name} again",
            )

    committed = finished
    if not finished:
        files.make_new(_unfinished(target))
    with open(_unfinished(target), "r+b", opener=files.own_file) as unfinished:
        # what follows the finished parts was never synced, and may be of parts since replaced
        unfinished.truncate(starts[finished])
        progress(starts[finished])
        if remove_parts:
            # the kill may have come between the commit of these and their removal
            _unlink(paths[:finished])
        appended = mapped(append, range(finished, len(parts)), COPIERS)
        with _nothing_left(target, parts), contextlib.closing(appended):
            for count, _ in enumerate(appended, finished + 1):
                uncommitted_bytes = starts[count] - starts[committed]
                is_last = count == len(parts)
                if remove_parts or uncommitted_bytes >= _COMMIT_BYTES or is_last:
                    # the order matters: no journal before its bytes, no removal before its journal
                    os.fsync(unfinished.fileno())
                    part_manifest.write_journal(_journal(target), parts, count)
                    if remove_parts:
                        _unlink(paths[committed:count])
                    committed = count


@contextlib.contextmanager
def _nothing_left(target: Path, parts: Sequence[BinPart]) -> Iterator[None]:
    """Where the block fails, remove what it wrote, unless another run can go on from there.

    Never once a part is gone: only what was written holds its bytes then.
    """
    try:
        yield
    except Exception as error:
        # a full disk or a failing one may be mended, while parts that are wrong are fetched anew
        resumable = _journal(target).exists() and not isinstance(error, EncoreError)
        if not resumable and _have_their_sizes(parts, target.parent):
            _unlink([_journal(target), _unfinished(target)])
        raise


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _joined_earlier(prefix: Path, remove_parts: bool) -> Joined:
    """The .bin of an earlier join; raises OutputError for one that these parts do not make."""
    target = bin_path(prefix)
    size = _size(target)
    has_parts = bool(part_manifest.present(prefix))
    stated = size
    checked = "nothing"
    if idx_path(prefix).exists():
        stated = Index(prefix).bin_bytes
        checked = "index"
    else:
        parts = part_manifest.read_manifest(prefix)
        if parts is None and has_parts:
            parts = part_manifest.find(prefix)
        if parts:
            stated = _total(parts)
    if size != stated:
        raise OutputError(
            f"{target} exists, with {size:,} bytes instead of {stated:,}",
            f"remove or rename {target.name} and run the same command again",
        )
    if remove_parts and has_parts:
        raise OutputError(
            f"{target} exists, and so do its parts",
            f"remove the parts; or remove {target.name}, to join them again",
        )
    # a kill between the last rename of a join and this removal leaves the journal
    _unlink([_unfinished(target), _journal(target)])
    return Joined(target, stated, 0, checked)


def split(
    prefix: Path,
    count: int | None = None,
    part_bytes: int | None = None,
    progress: Progress = no_progress,
) -> list[BinPart]:
    """Cut PREFIX.bin into `count` parts of nearly equal size, or of at most `part_bytes` each.

    PREFIX.bin stays, no token is cut, and PREFIX.parts.json is written last. After a kill, the next
    call starts over. Raises UsageError for an impossible number or size of parts, OutputError where
    other parts exist.
    """
    prefix = Path(prefix)
    plan = _plan_split(IndexedDataset(prefix), prefix, count, part_bytes)
    target = bin_path(prefix)
    with files.exclusive(target):
        journal = target.with_name(f".{target.name}.splitting.json")
        manifest = _split_earlier(prefix, plan)
        if manifest is not None:
            journal.unlink(missing_ok=True)
            return manifest
        _make_room(prefix, plan, journal)
        # The journal lists the parts to clear away after a kill; a failure clears them away itself.
        try:
            parts = _write_parts(target, plan, progress)
            part_manifest.write_manifest(prefix, parts)
        except BaseException:
            _remove_parts(target, plan)
            raise
        finally:
            journal.unlink()
    return parts


def _plan_split(
    dataset: IndexedDataset, prefix: Path, count: int | None, part_bytes: int | None
) -> list[BinPart]:
    """The parts to write, without their hashes."""
    tokens = len(dataset.tokens)
    itemsize = dataset.dtype.itemsize
    lengths = []
    if part_bytes is not None:
        if part_bytes < itemsize:
            raise UsageError(
                f"parts of {part_bytes} bytes cannot hold a token of {itemsize}",
                f"give --size {itemsize} or more",
            )
        part_tokens = part_bytes // itemsize
        for first in range(0, tokens, part_tokens):
            lengths.append(min(part_tokens, tokens - first))
        # an empty .bin has one part, which is empty
        lengths = lengths or [0]
    else:
        if count is None or not 1 <= count <= max(tokens, 1):
            raise UsageError(
                f"{tokens:,} tokens cannot be cut into {count} parts",
                f"give --parts 1 to {max(tokens, 1):,}",
            )
        quotient, remainder = divmod(tokens, count)
        lengths = [quotient + 1] * remainder + [quotient] * (count - remainder)
    parts = []
    for name, length in zip(part_manifest.names(prefix, len(lengths)), lengths, strict=True):
        parts.append(BinPart(name, length * itemsize))
    return parts


def _split_earlier(prefix: Path, plan: Sequence[BinPart]) -> list[BinPart] | None:
    """The manifest of these very parts, None where they do not exist or the .bin is newer."""
    manifest = part_manifest.read_manifest(prefix)
    if manifest is None:
        return None
    target = bin_path(prefix)
    planned = [replace(part, xxh3_128=None) for part in manifest]
    if planned != list(plan) or not _have_their_sizes(plan, target.parent):
        return None
    # The parts are of an older .bin when that was written to after their manifest.
    manifest_ns = part_manifest.manifest_path(prefix).stat().st_mtime_ns
    if target.stat().st_mtime_ns > manifest_ns:
        return None
    return manifest


def _make_room(prefix: Path, plan: Sequence[BinPart], journal: Path) -> None:
    """Remove the parts of a killed split, refuse to touch any others, and write the journal."""
    leftovers, _ = part_manifest.read_journal(journal, prefix)
    others = part_manifest.present(prefix) - {part.name for part in leftovers}
    if others:
        raise OutputError(
            f"{prefix} has parts already, {min(others)} among them",
            "move them to another folder, with their .parts.json if they have one",
        )
    _remove_parts(bin_path(prefix), leftovers)
    part_manifest.write_journal(journal, plan, 0)
    part_manifest.manifest_path(prefix).unlink(missing_ok=True)


def _temporary(target: Path, part: BinPart) -> Path:
    return target.with_name(f".{part.name}.tmp")


def _remove_parts(target: Path, parts: Sequence[BinPart]) -> None:
    for part in parts:
        _unlink([target.with_name(part.name), _temporary(target, part)])


def _write_parts(target: Path, plan: Sequence[BinPart], progress: Progress) -> list[BinPart]:
    """Copy the ranges of the .bin to the planned parts; returns these with their hashes."""
    starts = _starts(plan)

    def write(i: int) -> BinPart:
        part = plan[i]
        files.make_new(_temporary(target, part))
        digest = hashed_copy.copy(
            target, starts[i], part.bytes, _temporary(target, part), 0, progress
        )
        return replace(part, xxh3_128=digest)

    parts = list(mapped(write, range(len(plan)), COPIERS))
    # All are synced before any is renamed: each fsync after a rename would wait for that as well.
    for part in parts:
        files.fsync(_temporary(target, part))
    for part in parts:
        os.replace(_temporary(target, part), target.with_name(part.name))
    files.fsync(target.parent)
    return parts
