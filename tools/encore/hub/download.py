"""Download files of a repository into a folder: verified, resumed, parallel; the manifest is last.

    OUT/.hub-partial/      downloads under way, one file each, and a note of each file that was
                           put in place since; removed when all are complete
    OUT/…                  whole files only: renamed into place once size and hash are the Hub's
    OUT/hub-manifest.json  for every file: its path in the repository, commit, size and hash

A file of OUT that is none of an earlier pull of the repository is never replaced unasked.

A run that is killed at any moment resumes when it is run again: a file is recognised by its hash,
never by its name alone. The library itself restarts a file from its beginning (2.4.0,
file_download._download_to_tmp_and_move), which is why the partial files are the kit's own; one in
Xet storage comes by hf-xet, out of order, and does start over when it is cut off.
"""

import functools
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from encore import files, strict_json
from encore.errors import DataError, HubError, HubUnreachableError, OutputError
from encore.hub import client, run_files

MANIFEST = "hub-manifest.json"
_PARTIAL = ".hub-partial"
_ATTEMPTS = 6  # without progress
_PROGRESS_BYTES = 1 << 20  # less is none: a Hub that adds a byte at a time would never end
_LONGEST_WAIT_S = 30.0
_NAMED = 5  # files, in a message
_SPARE_BYTES = 64 << 20  # left free for everyone else
_READ_BYTES = 1 << 20

Progress = Callable[[int], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadItem:
    """A file to download, and its path below the output folder."""

    file: client.RemoteFile
    local: str


@dataclass(frozen=True)
class DownloadPlan:
    """Which files to download, from which commit, into which folder.

    Raises HubError for a path that would leave the folder or replace the kit's own files in it.
    """

    repository: client.Repository
    commit: str
    items: tuple[DownloadItem, ...]
    out: Path

    @property
    def bytes(self) -> int:
        """Size of all files, downloaded or not."""
        return total_bytes(self.items)

    def __post_init__(self) -> None:
        root = self.out.resolve()
        for item in self.items:
            target = self.out / run_files.check_inside(item.local)
            is_reserved = item.local.split("/")[0] in (MANIFEST, _PARTIAL)
            # a link in the folder may lead out of it
            leads_out = not target.parent.resolve().is_relative_to(root)
            if is_reserved or leads_out or self._has_file_above(item):
                raise HubError(
                    f"{item.file.path!r} cannot be written below {self.out}",
                    "name an empty folder with --out",
                )

    @functools.cached_property
    def _locals(self) -> frozenset[str]:
        return frozenset(item.local for item in self.items)

    def _has_file_above(self, item: DownloadItem) -> bool:
        """Whether another file of the plan has the name of a folder that this one is in."""
        return any(str(parent) in self._locals for parent in PurePosixPath(item.local).parents)


def total_bytes(items: Sequence[DownloadItem]) -> int:
    """Size of these files."""
    return sum(item.file.size for item in items)


def no_progress(_: int) -> None:
    """Show no progress."""


def missing_files(
    plan: DownloadPlan, threads: int = 4, progress: Progress = no_progress
) -> list[DownloadItem]:
    """The items that are not in the folder with the Hub's size and hash.

    Parts of a .bin that were joined and removed count as present while the whole holds their bytes.
    """
    joined_ranges = _joined_ranges(plan)

    def is_present(item: DownloadItem) -> bool:
        file = item.file
        if item.local in joined_ranges:
            path, start = joined_ranges[item.local]
        else:
            path = plan.out / item.local
            start = 0
            if not path.is_file() or path.stat().st_size != file.size:
                return False
        return client.file_digest(path, file.large, file.size, start, progress) == file.digest

    with ThreadPoolExecutor(threads) as pool:
        present = list(pool.map(is_present, plan.items))
    return [item for item, here in zip(plan.items, present, strict=True) if not here]


def _joined_ranges(plan: DownloadPlan) -> dict[str, tuple[Path, int]]:
    """Parts that were joined and removed: each with the whole, and its first byte there."""
    sizes = {item.local: item.file.size for item in plan.items}
    ranges: dict[str, tuple[Path, int]] = {}
    for prefix, parts in run_files.part_groups(sizes).items():
        whole = plan.out / f"{prefix}.bin"
        if not whole.is_file() or whole.stat().st_size != sum(sizes[part] for part in parts):
            continue
        start = 0
        for part in parts:
            if not (plan.out / part).exists():
                ranges[part] = (whole, start)
            start += sizes[part]
    return ranges


def check_disk(plan: DownloadPlan, missing: Sequence[DownloadItem], extra_bytes: int = 0) -> None:
    """Raise OutputError unless the disk has room for the missing files and `extra_bytes` more."""
    required = total_bytes(missing) + extra_bytes
    for item in missing:
        # what an interrupted run downloaded takes no further room
        partial = plan.out / _PARTIAL / _partial_name(item)
        required -= min(_size(partial), item.file.size)
    place = plan.out.absolute()
    while not place.exists():
        place = place.parent
    free = max(shutil.disk_usage(place).free - _SPARE_BYTES, 0)
    if required > free:
        raise OutputError(
            f"{plan.out} needs {required:,} bytes more, {free:,} are free",
            "free some disk space, download fewer files (--what, --step), or choose --out",
        )


def check_replaced(plan: DownloadPlan, missing: Sequence[DownloadItem]) -> None:
    """Raise OutputError where a download would replace what no earlier pull wrote.

    That is a file that differs from the Hub's and that neither the manifest nor a note of a killed
    pull lists. A .bin that was joined counts as written with its parts.
    """
    earlier_entries = _manifest_entries(plan)

    def is_own(item: DownloadItem) -> bool:
        return item.local in earlier_entries or _note(plan, item).exists()

    foreign = []
    for item in missing:
        # also for a link whose target is missing
        if os.path.lexists(plan.out / item.local) and not is_own(item):
            foreign.append(item.local)
    missing_names = {item.local for item in missing}
    items = {item.local: item for item in plan.items}
    for prefix, parts in run_files.part_groups(items).items():
        whole = f"{prefix}.bin"
        differs = bool(missing_names.intersection(parts))
        if differs and os.path.lexists(plan.out / whole) and not is_own(items[parts[0]]):
            foreign.append(whole)
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if len(foreign) > _NAMED else ""
        raise OutputError(
            f"{plan.out} holds other files of the names {', '.join(foreign[:_NAMED])}{more}",
            "name another folder with --out, move them away, or replace them with --force",
        )


def download_files(
    plan: DownloadPlan,
    missing: Sequence[DownloadItem],
    threads: int = 4,
    progress: Progress = no_progress,
) -> Path:
    """Download the missing files, then write the manifest, whose path is returned.

    Raises HubError for a file whose bytes stay other than the Hub states, HubUnreachableError when
    the Hub stops answering, OutputError for a folder in use or with files of another repository.
    """
    with files.exclusive(plan.out / MANIFEST):
        earlier_entries = _manifest_entries(plan)
        stop = threading.Event()
        with ThreadPoolExecutor(threads) as pool:
            futures = []
            for item in missing:
                transfer = _Transfer(plan, item, progress, stop)
                futures.append(pool.submit(transfer.run))
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        shutil.rmtree(plan.out / _PARTIAL, ignore_errors=True)
        files.write_text(plan.out / MANIFEST, _manifest_text(plan, earlier_entries))
    return plan.out / MANIFEST


def _manifest_entries(plan: DownloadPlan) -> dict[str, Any]:
    """What an earlier pull's manifest lists; raises OutputError if it names another repository."""
    path = plan.out / MANIFEST
    try:
        document = strict_json.read(path)
        repository = document["repository"]
        entries = dict(document["files"])
        for name in entries:
            run_files.check_inside(name)
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, RecursionError, HubError):
        raise DataError(f"{path} is not a manifest of tools/hub.py", f"rm {path}") from None
    if repository != plan.repository.name:
        raise OutputError(
            f"{plan.out} holds files of {repository}", "name another folder with --out"
        )
    return entries


def _manifest_text(plan: DownloadPlan, earlier_entries: dict[str, Any]) -> str:
    joined_parts: set[str] = set()
    for prefix, parts in run_files.part_groups(earlier_entries).items():
        if (plan.out / f"{prefix}.bin").exists():
            joined_parts.update(parts)
    entries = {}
    for name, entry in earlier_entries.items():
        if name in joined_parts or (plan.out / name).exists():
            entries[name] = entry
    for item in plan.items:
        entries[item.local] = {
            "path": item.file.path,
            "revision": plan.commit,
            "size": item.file.size,
            item.file.algorithm: item.file.digest,
        }
    document = {
        "repository": plan.repository.name,
        "type": plan.repository.kind,
        "files": dict(sorted(entries.items())),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _note(plan: DownloadPlan, item: DownloadItem) -> Path:
    """The note that this file was put in place, for a pull that is killed before its manifest."""
    return plan.out / _PARTIAL / f"{_local_name(item)}.placed"


def _local_name(item: DownloadItem) -> str:
    return hashlib.sha256(item.local.encode()).hexdigest()[:16]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _partial_name(item: DownloadItem) -> str:
    # the path, so that files of the same bytes do not share one; the digest, so that a partial
    # file of older bytes is never resumed
    return f"{_local_name(item)}.{item.file.digest}"


class _StoppedError(Exception):
    """Another file failed, or the user interrupted the command."""


class _HashingSink:
    """The partial file that a download appends to, hashed on the way to save a second reading."""

    def __init__(
        self,
        handle: BinaryIO,
        file: client.RemoteFile,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._handle = handle
        self._file = file
        self._progress = progress
        self._stop = stop
        self._hasher = file.hasher()
        handle.seek(0)
        while chunk := handle.read(_READ_BYTES):
            self._hasher.update(chunk)
            progress(len(chunk))

    def write(self, data: bytes, /) -> int:
        """Append and hash. Raises _StoppedError once the whole pull has failed."""
        if self._stop.is_set():
            raise _StoppedError
        if self.tell() + len(data) > self._file.size:
            raise HubError(
                f"{self._file.path}: the Hub sends more than the {self._file.size:,} bytes that it"
                " states",
                "the stored file may be damaged; pull an older commit with --revision",
            )
        self._hasher.update(data)
        self._progress(len(data))
        return self._handle.write(data)

    def tell(self) -> int:
        """The number of bytes so far."""
        return self._handle.tell()

    def seek(self, position: int, /) -> int:
        """Go back to the start: the Hub sends the whole file instead of the requested range."""
        return self._handle.seek(position)

    def truncate(self) -> int:
        """Drop all bytes: the library calls this after `seek`, which went to the start."""
        self.take_back_progress()
        self._hasher = self._file.hasher()
        return self._handle.truncate()

    def take_back_progress(self) -> None:
        """Uncount all bytes so far, because the next attempt counts them again."""
        self._handle.flush()
        self._progress(-_size(Path(self._handle.name)))

    def hexdigest(self) -> str:
        """The hash of all bytes so far."""
        return self._hasher.hexdigest()


@dataclass
class _Transfer:
    """One file's download."""

    plan: DownloadPlan
    item: DownloadItem
    progress: Progress
    stop: threading.Event

    def run(self) -> None:
        """Download the file and move it into place; retries as long as that makes progress."""
        partial = self.plan.out / _PARTIAL / _partial_name(self.item)
        partial.parent.mkdir(parents=True, exist_ok=True)
        path = self.item.file.path
        failures = 0
        mismatches = 0
        largest_size = _size(partial)
        while True:
            try:
                if self._fill(partial):
                    return self._move_into_place(partial)
                mismatches += 1
                problem = f"{path}: the bytes received differ from the Hub's hash"
            except HubUnreachableError as error:
                if _size(partial) >= largest_size + _PROGRESS_BYTES:
                    largest_size = _size(partial)
                    failures = 0
                failures += 1
                problem = str(error)
                if failures >= _ATTEMPTS:
                    raise
            if mismatches > 1:
                file = self.item.file
                raise HubError(
                    f"{problem} (size {file.size:,}, {file.algorithm} {file.digest})",
                    "the stored file may be damaged; pull an older commit with --revision",
                )
            log.info("%s; retrying", problem)
            if self.stop.wait(min(0.5 * 2**failures, _LONGEST_WAIT_S)):
                raise _StoppedError

    def _fill(self, partial: Path) -> bool:
        """Complete the partial file; False, after removing it, when its hash is wrong."""
        file = self.item.file
        if file.in_xet and not partial.exists() and client.xet_is_available():
            return self._fill_by_library(partial)
        if _size(partial) > file.size:
            partial.unlink()
        with open(partial, "a+b", opener=files.own_file) as handle:
            sink = _HashingSink(handle, file, self.progress, self.stop)
            try:
                client.download(self.plan.repository, self.plan.commit, file, sink, _size(partial))
            except BaseException:
                sink.take_back_progress()
                raise
        if sink.hexdigest() == file.digest:
            return True
        self.progress(-file.size)
        partial.unlink()
        return False

    def _fill_by_library(self, partial: Path) -> bool:
        file = self.item.file
        folder = partial.with_name(partial.name + ".library")
        path = client.download_by_library(self.plan.repository, self.plan.commit, file, folder)
        is_right = (
            path.stat().st_size == file.size
            and client.file_digest(path, file.large, file.size) == file.digest
        )
        if is_right:
            os.replace(path, partial)
            self.progress(file.size)
        shutil.rmtree(folder)
        return is_right

    def _move_into_place(self, partial: Path) -> None:
        target = self.plan.out / self.item.local
        target.parent.mkdir(parents=True, exist_ok=True)
        files.fsync(partial)
        _note(self.plan, self.item).touch()
        os.replace(partial, target)
        files.fsync(target.parent)
