"""Upload a folder to the Hub: only what changed, in commits that a reader sees whole or not at all.

What the Hub has is known from its listing (size, then hash), so that a push that is cut off at any
moment resumes when it is run again, and one without changes makes no commit. Nothing is removed
from the Hub.
"""

import functools
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import groupby
from pathlib import Path

from encore.errors import DataError, HubUnreachableError, UsageError
from encore.hub import client, growing_file, model_card, run_files
from encore.plan import resolve
from encore.plan.records import Request
from encore.plan.user_config import UserConfig

CARD = "README.md"
_LONGEST_WAIT_S = 30.0
# a checkpoint that nothing has named yet may still be written to for this long
_BEING_WRITTEN_S = 600.0
_FILES_PER_COMMIT = 500
_SMALL_BYTES = 10 << 20  # the Hub requires large-file storage for larger files
_SMALL_BYTES_PER_COMMIT = 100 << 20
_EXCLUDED = (".*", "*.tmp", "*.lock", "hub-manifest.json")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalFile:
    """A file below the folder, as it was when the folder was listed."""

    path: str
    source: Path
    size: int
    mtime_ns: int

    @property
    def grows(self) -> bool:
        """Whether it is of a kind that programs append to while it is sent."""
        return run_files.kind(self.path) in run_files.APPENDED_KINDS

    def addition(self) -> client.Addition:
        """The file to commit; of a growing one, the bytes that it had when it was listed."""
        if self.grows:
            return client.Addition(
                self.path, lambda: growing_file.FilePrefix(self.source, self.size)
            )
        return client.Addition(self.path, self.source)


@dataclass(frozen=True)
class PushOptions:
    """Where and how to push a run's folder.

    repo: OWNER/NAME, None for the user's own repository of the run's name. patterns: only files
    whose path or name matches one, all if empty. create: create the repository if it does not
    exist, `private` if so. attempts: failures in a row, without a commit, after which to give up.
    """

    repo: str | None = None
    patterns: tuple[str, ...] = ()
    create: bool = False
    private: bool = False
    attempts: int = 5


@dataclass(frozen=True)
class PushResult:
    """What was sent, and where to."""

    repository: client.Repository
    files: int
    bytes: int


def push_run(
    request: Request, folder: Path, options: PushOptions, config: UserConfig
) -> PushResult:
    """Push a run's folder once. Raises UsageError, DataError or HubError."""
    push = prepare(request, folder, options, config)
    push.check_patterns()
    create_repository(push, options)
    return push.run()


def prepare(request: Request, folder: Path, options: PushOptions, config: UserConfig) -> "Push":
    """The push of a run's folder, whose card is the plan of `request`. Changes nothing."""
    if options.private and not options.create:
        raise UsageError("--private is for a repository that is created", "add --create")
    if options.repo and options.repo.count("/") != 1:
        raise UsageError(
            f"--repo {options.repo!r} is not OWNER/NAME",
            f"leave it out for your own repository {request.name}",
        )
    plan = resolve.resolve(request, config)
    # before the Hub is asked who the user is: a mistyped folder is one's own to see
    _check_folder(folder)
    repository = client.Repository(options.repo or f"{client.username()}/{plan.name}")
    card = functools.partial(model_card.text, plan, folder)
    return Push(folder, repository, card, options.patterns, options.attempts)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder", "name the folder that holds the run's files")


def create_repository(push: "Push", options: PushOptions) -> None:
    """Create the push's repository if the options say so."""
    if options.create:
        client.create_repository(push.repository, options.private)


@dataclass
class Push:
    """A folder, the repository that it goes to, and the hashes of files, kept between rounds.

    card: makes the text of README.md; called only when the Hub has none once the files are there.
    """

    folder: Path
    repository: client.Repository
    card: Callable[[], str]
    patterns: Sequence[str] = ()
    attempts: int = 5
    _digests: dict[tuple[LocalFile, bool], str] = field(default_factory=dict)

    def run(self) -> PushResult:
        """Bring the Hub up to date; retries while the Hub does not answer."""
        failures = 0
        sent_files = 0
        sent_bytes = 0
        while True:
            try:
                for batch in _batches(self.changes()):
                    self._commit(batch)
                    failures = 0
                    for file in batch:
                        sent_files += 1
                        sent_bytes += file.size
                sent_files += self._add_card()
                return PushResult(self.repository, sent_files, sent_bytes)
            except HubUnreachableError as error:
                failures += 1
                if failures >= self.attempts:
                    raise
                log.info("%s; retrying", error)
                time.sleep(min(0.5 * 2**failures, _LONGEST_WAIT_S))

    def _commit(self, batch: Sequence[LocalFile]) -> None:
        additions = []
        for file in batch:
            # it may have been removed since it was listed
            if file.source.is_file():
                additions.append(file.addition())
        message = f"Upload {batch[0].path}"
        if len(batch) > 1:
            message += f" and {len(batch) - 1} more"
        client.commit(self.repository, additions, message)

    def _add_card(self) -> int:
        """Commit a model card unless there is a README.md; returns the number of files sent."""
        if CARD in self._remote_files():
            return 0
        addition = client.Addition(CARD, self.card().encode())
        client.commit(self.repository, [addition], "Describe the run")
        return 1

    def changes(self) -> list[LocalFile]:
        """The local files that the Hub lacks or has with other bytes, in the order to send them."""
        remote_files = self._remote_files()
        changed = []
        for local in self.local_files():
            if not self._is_on_hub(local, remote_files.get(local.path)):
                changed.append(local)
        return changed

    def _remote_files(self) -> dict[str, client.RemoteFile]:
        tree = client.repo_tree(self.repository, client.resolve_commit(self.repository))
        return {file.path: file for file in tree}

    def _is_on_hub(self, local: LocalFile, remote: client.RemoteFile | None) -> bool:
        if remote is None or remote.size != local.size:
            return False
        key = (local, remote.large)
        if key not in self._digests:
            self._digests[key] = client.file_digest(local.source, remote.large, local.size)
        return self._digests[key] == remote.digest

    def local_files(self) -> list[LocalFile]:
        """The folder's files that belong on the Hub; `latest` last, after the step that it names.

        Files that no pattern matches, temporary files and unfinished checkpoints do not.
        """
        _check_folder(self.folder)
        matching = list(filter(self._matches, _walk(self.folder)))
        unfinished = _unfinished_steps(self.folder, matching)
        for step_folder in sorted(unfinished):
            log.info("%s: still being written, left for the next push", step_folder)
        finished = []
        for file in matching:
            if not any(file.path.startswith(f"{step_folder}/") for step_folder in unfinished):
                finished.append(file)
        return sorted(finished, key=lambda file: (file.source.name.startswith("latest"), file.path))

    def check_patterns(self) -> None:
        """Raise UsageError for a pattern that matches no file; for `sync` one may come later."""
        local_files = self.local_files()
        for pattern in self.patterns:
            if not any(_matches(file, pattern) for file in local_files):
                raise UsageError(
                    f"--patterns {pattern!r} matches no file of {self.folder}",
                    "quote it, and see what is there with: find " + shlex.quote(str(self.folder)),
                )

    def _matches(self, file: LocalFile) -> bool:
        if not self.patterns:
            return True
        return any(_matches(file, pattern) for pattern in self.patterns)


def _matches(file: LocalFile, pattern: str) -> bool:
    return fnmatch(file.path, pattern) or fnmatch(file.source.name, pattern)


def _walk(folder: Path) -> Iterator[LocalFile]:
    """Every file except hidden and temporary ones, and links, which could lead anywhere.

    Links are named in the log.
    """
    links = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_excluded(name))
        # os.walk counts links to folders as folders, and does not follow them
        links += [Path(root) / name for name in folders if (Path(root) / name).is_symlink()]
        for name in sorted(names):
            source = Path(root) / name
            if not _is_excluded(name) and source.is_symlink():
                links.append(source)
            if _is_excluded(name) or not source.is_file() or source.is_symlink():
                continue
            stat = source.stat()
            path = source.relative_to(folder).as_posix()
            yield LocalFile(path, source, stat.st_size, stat.st_mtime_ns)
    if links:
        named = ", ".join(str(link.relative_to(folder)) for link in links[:5])
        more = ", …" if len(links) > 5 else ""
        log.warning("%s: %d links are left out: %s%s", folder, len(links), named, more)


def _is_excluded(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _EXCLUDED)


def _unfinished_steps(folder: Path, local_files: Sequence[LocalFile]) -> set[str]:
    """Checkpoint folders that a trainer may be writing.

    A trainer names a step in `latest` once it is complete: a later step is unfinished. Without
    `latest`, one that changed only just now is.
    """
    unfinished = set()
    in_steps = [file for file in local_files if run_files.step(file.path) is not None]
    for step_folder, group in groupby(in_steps, key=lambda file: _step_folder(file.path)):
        latest = folder / step_folder / ".." / "latest"
        latest_step = None
        if latest.is_file():
            latest_step = run_files.step(latest.read_text(errors="replace").strip() + "/x")
        if latest_step is not None:
            step = run_files.step(f"{step_folder}/x")
            is_unfinished = step is not None and step > latest_step
        else:
            newest_s = max(file.mtime_ns for file in group) / 1e9
            is_unfinished = time.time() - newest_s < _BEING_WRITTEN_S
        if is_unfinished:
            unfinished.add(step_folder)
    return unfinished


def _step_folder(path: str) -> str:
    """The path of the checkpoint's folder that a file is in: up to its last global_stepN."""
    folder = path.rpartition("/")[0]
    while run_files.step(f"{folder.rpartition('/')[2]}/x") is None:
        folder = folder.rpartition("/")[0]
    return folder


def _batches(changed: Sequence[LocalFile]) -> Iterator[list[LocalFile]]:
    """Commits of a size that the Hub accepts, by their number of files and bytes of small files."""
    batch: list[LocalFile] = []
    small_bytes = 0
    for file in changed:
        weight = file.size if file.size <= _SMALL_BYTES else 0
        is_full = len(batch) == _FILES_PER_COMMIT or small_bytes + weight > _SMALL_BYTES_PER_COMMIT
        if batch and is_full:
            yield batch
            batch = []
            small_bytes = 0
        batch.append(file)
        small_bytes += weight
    if batch:
        yield batch
