"""Files of a repository brought into a folder: verified, resumed, in parallel, described by a manifest that comes last.

    OUT/.hub-partial/      what is on its way, a file per file, by what it is to become; gone when all is here
    OUT/…                  whole files only: each is renamed into place when its size and hash are the Hub's
    OUT/hub-manifest.json  for every file: its path in the repository, commit, size and hash

A run killed at any moment and run again goes on where it was: a file is known by its hash, never by its name alone. The
library itself begins a file anew (2.4.0, file_download._download_to_tmp_and_move), so that the partial files are ours;
but one in Xet storage comes by hf-xet, out of order, and does start over when it is cut off.
"""

import contextlib
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from encore import files
from encore.errors import DataError, HubError, HubUnreachableError, OutputError
from encore.hub import client, run_files

MANIFEST = "hub-manifest.json"
_PARTIAL = ".hub-partial"
_TRIES = 6  # without a byte of progress
_LONGEST_WAIT_S = 30.0
_SPARE_BYTES = 64 << 20  # left free for everyone else

Progress = Callable[[int], None]


@dataclass(frozen=True)
class DownloadItem:
    """A file to bring: what the Hub states of it, and its name below the folder."""

    file: client.RemoteFile
    local: str


@dataclass(frozen=True)
class DownloadPlan:
    """What to bring, from which commit, where to."""

    repository: client.Repository
    commit: str
    items: tuple[DownloadItem, ...]
    out: Path

    @property
    def bytes(self) -> int:
        """Of all files, here or not."""
        return sum(item.file.size for item in self.items)

    def __post_init__(self) -> None:
        root = self.out.resolve()
        for item in self.items:
            target = self.out / run_files.check_inside(item.local)
            if item.local.split("/")[0] in (
                MANIFEST,
                _PARTIAL,
            ) or not target.parent.resolve().is_relative_to(root):
                raise HubError(
                    f"{item.file.path!r} cannot be put into {self.out}", "choose another --out"
                )


def silent(_: int) -> None:
    """No progress shown."""


def missing_files(
    plan: DownloadPlan, threads: int = 4, progress: Progress = silent
) -> list[DownloadItem]:
    """The items that are not here with the Hub's size and hash, neither as a file nor as a part of a joined .bin."""
    joined = _joined_ranges(plan)

    def is_here(item: DownloadItem) -> bool:
        path, start = joined.get(item.local, (plan.out / item.local, 0))
        file = item.file
        if not path.is_file() or (
            start == 0 and item.local not in joined and path.stat().st_size != file.size
        ):
            return False
        return client.file_digest(path, file.large, file.size, start, progress) == file.digest

    with ThreadPoolExecutor(threads) as pool:
        return [
            item
            for item, here in zip(plan.items, pool.map(is_here, plan.items), strict=True)
            if not here
        ]


def _joined_ranges(plan: DownloadPlan) -> dict[str, tuple[Path, int]]:
    """Parts that are gone because they were joined: each with the whole and where it begins there."""
    sizes = {item.local: item.file.size for item in plan.items}
    found: dict[str, tuple[Path, int]] = {}
    for prefix, parts in run_files.part_groups(sizes).items():
        whole = plan.out / f"{prefix}.bin"
        if not whole.is_file() or whole.stat().st_size != sum(sizes[part] for part in parts):
            continue
        start = 0
        for part in parts:
            if not (plan.out / part).exists():
                found[part] = (whole, start)
            start += sizes[part]
    return found


def check_disk(plan: DownloadPlan, needed: Sequence[DownloadItem], extra_bytes: int = 0) -> None:
    """Raise OutputError unless what is missing has room, less what came before, and `extra_bytes` more."""
    partial = plan.out / _PARTIAL
    came = sum(min(_size(partial / _partial_name(item)), item.file.size) for item in needed)
    wanted = sum(item.file.size for item in needed) - came + extra_bytes
    place = next(
        parent for parent in (plan.out.absolute(), *plan.out.absolute().parents) if parent.exists()
    )
    free = max(shutil.disk_usage(place).free - _SPARE_BYTES, 0)
    if wanted > free:
        raise OutputError(
            f"{plan.out} needs {wanted:,} bytes more, {free:,} are free",
            "free some disk, take less, or choose --out",
        )


def download_files(
    plan: DownloadPlan,
    needed: Sequence[DownloadItem],
    threads: int,
    progress: Progress,
    say: Callable[[str], None],
) -> Path:
    """Bring what is needed, then write the manifest, which is returned.

    Raises HubError for a file whose bytes stay other than the Hub states, HubUnreachableError when it stops answering.
    """
    with files.exclusive(plan.out / MANIFEST):
        kept = _manifest_files(plan)
        stop = threading.Event()
        with ThreadPoolExecutor(threads) as pool:
            waiting = [
                pool.submit(_Transfer(plan, item, progress, say, stop).run) for item in needed
            ]
            try:
                for ended in wait(waiting, return_when=FIRST_EXCEPTION).done:
                    ended.result()
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        shutil.rmtree(plan.out / _PARTIAL, ignore_errors=True)
        files.write_text(plan.out / MANIFEST, _manifest(plan, kept))
    return plan.out / MANIFEST


def _manifest_files(plan: DownloadPlan) -> dict[str, Any]:
    """What an earlier pull's manifest lists; raises where that was from another repository."""
    path = plan.out / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same, listed = found["repository"] == plan.repository.name, dict(found["files"])
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is not a manifest of this command", "move it away") from None
    if not same:
        raise OutputError(
            f"{plan.out} holds files of {found['repository']}", "choose another --out"
        )
    return {name: entry for name, entry in listed.items() if (plan.out / name).exists()}


def _manifest(plan: DownloadPlan, kept: dict[str, Any]) -> str:
    brought = {
        item.local: {
            "path": item.file.path,
            "revision": plan.commit,
            "size": item.file.size,
            item.file.algorithm: item.file.digest,
        }
        for item in plan.items
    }
    document = {
        "repository": plan.repository.name,
        "type": plan.repository.kind,
        "files": dict(sorted((kept | brought).items())),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _partial_name(item: DownloadItem) -> str:
    return f"{hashlib.sha256(item.local.encode()).hexdigest()[:16]}.{item.file.digest}"


class _StoppedError(Exception):
    """Another file failed, or the user ended the command."""


@dataclass
class _Sink:
    """What http_get writes to: the partial file, hashed on the way so that it is not read again."""

    handle: BinaryIO
    file: client.RemoteFile
    progress: Progress
    stop: threading.Event
    hash: Any = field(init=False)

    def __post_init__(self) -> None:
        self.hash = self.file.hasher()
        self.handle.seek(0)
        while chunk := self.handle.read(1 << 20):
            self.hash.update(chunk)
            self.progress(len(chunk))

    def write(self, data: bytes) -> int:
        """Append, and hash."""
        if self.stop.is_set():
            raise _StoppedError
        self.hash.update(data)
        self.progress(len(data))
        return self.handle.write(data)

    def tell(self) -> int:
        """The bytes so far."""
        return self.handle.tell()

    def seek(self, position: int) -> int:
        """The library's way back to the start, when the Hub sends a whole file instead of the range asked for."""
        return self.handle.seek(position)

    def truncate(self) -> int:
        """Start over from where `seek` went, which is the beginning."""
        self.handle.flush()
        self.progress(-_size(Path(self.handle.name)))
        self.hash = self.file.hasher()
        return self.handle.truncate()


@dataclass
class _Transfer:
    """One file on its way."""

    plan: DownloadPlan
    item: DownloadItem
    progress: Progress
    say: Callable[[str], None]
    stop: threading.Event

    def run(self) -> None:
        """Bring the file and put it in place; tries again while that helps."""
        partial = self.plan.out / _PARTIAL / _partial_name(self.item)
        partial.parent.mkdir(parents=True, exist_ok=True)
        tries = wrong = 0
        while True:
            before = _size(partial)
            try:
                if self._fill(partial):
                    return self._place(partial)
                wrong += 1
                problem = f"{self.item.file.path}: what came is not what the Hub states"
            except HubUnreachableError as error:
                tries = 0 if _size(partial) > before else tries + 1
                problem = str(error)
                if tries >= _TRIES:
                    raise
            if wrong > 1:
                raise HubError(
                    f"{problem} (size {self.item.file.size:,}, {self.item.file.algorithm} {self.item.file.digest})",
                    "it may be damaged there; try again later, or another --revision",
                )
            self.say(f"{problem}; trying again")
            if self.stop.wait(min(0.5 * 2**tries, _LONGEST_WAIT_S)):
                raise _StoppedError

    def _fill(self, partial: Path) -> bool:
        """Whether the partial file holds the whole now; one with other bytes is removed."""
        file, plan = self.item.file, self.plan
        if file.in_xet and not partial.exists() and client.xet_is_available():
            return self._fill_by_library(partial)
        if _size(partial) > file.size:
            partial.unlink()
        with open(partial, "a+b") as handle, self._closing(handle) as sink:
            client.download(plan.repository, plan.commit, file, sink, _size(partial))
        if sink.hash.hexdigest() == file.digest:
            return True
        self.progress(-file.size)
        partial.unlink()
        return False

    @contextlib.contextmanager
    def _closing(self, handle: BinaryIO) -> Iterator[_Sink]:
        """A sink; after a failure its bytes no longer count as progress, for the next try reads them again."""
        sink = _Sink(handle, self.item.file, self.progress, self.stop)
        try:
            yield sink
        except BaseException:
            handle.flush()
            self.progress(-_size(Path(handle.name)))
            raise

    def _fill_by_library(self, partial: Path) -> bool:
        own = partial.with_name(partial.name + ".library")
        whole = client.download_whole(self.plan.repository, self.plan.commit, self.item.file, own)
        file = self.item.file
        same = (
            whole.stat().st_size == file.size
            and client.file_digest(whole, file.large, file.size) == file.digest
        )
        if same:
            os.replace(whole, partial)
            self.progress(file.size)
        shutil.rmtree(own)
        return same

    def _place(self, partial: Path) -> None:
        target = self.plan.out / self.item.local
        target.parent.mkdir(parents=True, exist_ok=True)
        files.fsync(partial)
        os.replace(partial, target)
        files.fsync(target.parent)
