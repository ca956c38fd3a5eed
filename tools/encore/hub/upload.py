"""A folder brought to the Hub: only what changed, in commits that a reader sees whole or not at all.

What is on the Hub is known by its listing (size, then hash), so that a push that was cut off, at any moment, goes on
where it was when it is run again, and one that has nothing to do makes no commit. Nothing is removed from the Hub.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path

from encore.errors import DataError, HubUnreachableError
from encore.hub import client, growing_file, run_files

CARD = "README.md"
_BEING_WRITTEN_S = 600.0
_FILES_PER_COMMIT = 500
_SMALL_BYTES = 10 << 20  # the Hub takes larger files out of line
_SMALL_BYTES_PER_COMMIT = 100 << 20
_LEFT_OUT = (".*", "*.tmp", "*.lock", "hub-manifest.json")


@dataclass(frozen=True)
class LocalFile:
    """A file below the folder, as it was when it was listed."""

    path: str
    where: Path
    size: int
    mtime_ns: int

    @property
    def grows(self) -> bool:
        """Whether it is of a kind that programs append to while it is sent."""
        return run_files.kind(self.path) in run_files.APPENDED_KINDS

    def addition(self) -> client.Addition:
        """To be committed: of a growing file the bytes that were there when it was listed."""
        if self.grows:
            return client.Addition(
                self.path, lambda: growing_file.FilePrefix(self.where, self.size)
            )
        return client.Addition(self.path, self.where)


@dataclass
class Push:
    """What goes where; the hashes that were taken stay for the next round.

    card: makes the text of README.md, asked only where the Hub has none once the files are there. tries: rounds without
    progress before it gives up.
    """

    folder: Path
    repository: client.Repository
    card: Callable[[], str]
    patterns: Sequence[str] = ()
    say: Callable[[str], None] = lambda _: None
    tries: int = 5
    _hashes: dict[tuple[LocalFile, bool], str] = field(default_factory=dict)

    def changes(self) -> list[LocalFile]:
        """What the Hub has not, or has otherwise; `latest` last, so that what it names is there before it is named."""
        remote = {
            file.path: file
            for file in client.repo_tree(self.repository, client.resolve_commit(self.repository))
        }
        return [
            local
            for local in self.local_files()
            if not self._is_there(local, remote.get(local.path))
        ]

    def local_files(self) -> list[LocalFile]:
        """The files to keep on the Hub: those that a pattern takes, less temporary ones and unfinished checkpoints."""
        if not self.folder.is_dir():
            raise DataError(f"{self.folder} is not a folder", "name the folder of the run's files")
        found = [file for file in _walk(self.folder) if self._is_taken(file.path)]
        unfinished = _unfinished_steps(self.folder, found)
        for step in sorted(unfinished):
            self.say(f"{step}: still being written, left for later")
        ready = [
            file
            for file in found
            if not any(file.path.startswith(f"{step}/") for step in unfinished)
        ]
        return sorted(
            ready, key=lambda file: (Path(file.path).name.startswith("latest"), file.path)
        )

    def _is_taken(self, path: str) -> bool:
        return not self.patterns or any(
            fnmatch(path, pattern) or fnmatch(path.rpartition("/")[2], pattern)
            for pattern in self.patterns
        )

    def _is_there(self, local: LocalFile, remote: client.RemoteFile | None) -> bool:
        if remote is None or remote.size != local.size:
            return False
        key = (local, remote.large)
        if key not in self._hashes:
            self._hashes[key] = client.file_digest(local.where, remote.large, local.size)
        return self._hashes[key] == remote.digest

    def run(self) -> tuple[int, int]:
        """Bring the Hub up to date; returns the files and bytes that were sent. Tries again while the Hub is away."""
        failed = sent_files = sent_bytes = 0
        while True:
            try:
                for batch in _batches(self.changes()):
                    there = [file.addition() for file in batch if file.where.is_file()]
                    client.commit(self.repository, there, _message(batch))
                    sent_files, sent_bytes = (
                        sent_files + len(batch),
                        sent_bytes + sum(file.size for file in batch),
                    )
                    failed = 0
                return sent_files + self._add_card(), sent_bytes
            except HubUnreachableError as error:
                failed += 1
                if failed >= self.tries:
                    raise
                self.say(f"{error}; trying again")
                time.sleep(min(0.5 * 2**failed, 30.0))

    def _add_card(self) -> int:
        names = {
            file.path
            for file in client.repo_tree(self.repository, client.resolve_commit(self.repository))
        }
        if CARD in names:
            return 0
        client.commit(
            self.repository, [client.Addition(CARD, self.card().encode())], "Describe the run"
        )
        return 1


def _walk(folder: Path) -> Iterator[LocalFile]:
    """Every file but hidden and temporary ones, and links, which could lead anywhere."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_left_out(name))
        for name in sorted(names):
            where = Path(root) / name
            if _is_left_out(name) or not where.is_file() or where.is_symlink():
                continue
            stat = where.stat()
            yield LocalFile(
                where.relative_to(folder).as_posix(), where, stat.st_size, stat.st_mtime_ns
            )


def _is_left_out(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _LEFT_OUT)


def _unfinished_steps(folder: Path, found: Sequence[LocalFile]) -> set[str]:
    """Checkpoint folders that a trainer may be writing: newer than `latest` names, or unnamed and only just changed."""
    unfinished = set()
    of_steps = [file for file in found if run_files.step(file.path) is not None]
    for step_folder, group in groupby(of_steps, key=lambda file: _step_folder(file.path)):
        latest = folder / step_folder / ".." / "latest"
        named = (
            run_files.step(latest.read_text(errors="replace").strip() + "/x")
            if latest.is_file()
            else None
        )
        if named is not None:
            late = (run_files.step(f"{step_folder}/x") or 0) > named
        else:
            late = time.time() - max(file.mtime_ns for file in group) / 1e9 < _BEING_WRITTEN_S
        if late:
            unfinished.add(step_folder)
    return unfinished


def _step_folder(path: str) -> str:
    parts = path.split("/")
    return "/".join(
        parts[
            : max(i for i, part in enumerate(parts[:-1]) if run_files.step(f"{part}/x") is not None)
            + 1
        ]
    )


def _batches(changed: Sequence[LocalFile]) -> Iterator[list[LocalFile]]:
    """Commits of a size that the Hub takes: so many files, so many bytes of small ones."""
    batch: list[LocalFile] = []
    small = 0
    for file in changed:
        weight = file.size if file.size <= _SMALL_BYTES else 0
        if batch and (len(batch) == _FILES_PER_COMMIT or small + weight > _SMALL_BYTES_PER_COMMIT):
            yield batch
            batch, small = [], 0
        batch.append(file)
        small += weight
    if batch:
        yield batch


def _message(batch: Sequence[LocalFile]) -> str:
    return f"Upload {batch[0].path}" + (f" and {len(batch) - 1} more" if len(batch) > 1 else "")
