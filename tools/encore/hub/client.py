"""The Hub as the kit uses it: what a repository holds, a file's bytes, a commit.

A thin layer over huggingface_hub, which does the requests, most retries, the login (`hf auth login`
or HF_TOKEN; no token passes through the kit), mirrors and offline mode (HF_ENDPOINT,
HF_HUB_OFFLINE) and Xet storage. Whatever it raises becomes a HubError of one line,
HubUnreachableError where the same request may succeed later.
"""

import contextlib
import functools
import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from encore import hub_library
from encore.errors import HubBusyError, HubError
from encore.hub_library import NOT_OURS, library, translated_errors

_BUSY_WAITS_S = (1.0, 3.0)
_READ_BYTES = 1 << 20
_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# A page of a listing has a thousand files. A listing of more pages is one that has no end.
_PAGES = 1000
ANSWER_BYTES = 64 << 20  # of JSON; a repository's list of names is the longest
# redirects and the library's own retries included; the kit retries by itself
_ANSWERS_PER_DOWNLOAD = 12
# what trips over an answer of odd types: the library takes for granted what the Hub states
_MALFORMED = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)

P = ParamSpec("P")
T = TypeVar("T")


class Hasher(Protocol):
    """What hashlib's objects have in common."""

    def update(self, data: bytes, /) -> None:
        """Hash more bytes."""

    def hexdigest(self) -> str:
        """The hash of all bytes so far, in lowercase hex."""


class Sink(Protocol):
    """What a download is written to, as far as the Hub's library uses it."""

    def write(self, data: bytes, /) -> int:
        """Append bytes."""

    def tell(self) -> int:
        """The number of bytes so far."""

    def seek(self, position: int, /) -> int:
        """Go back to the start, where the Hub sends the whole file instead of a range."""

    def truncate(self) -> int:
        """Drop all bytes from the position on."""


@dataclass(frozen=True)
class Repository:
    """A repository by its full name, OWNER/NAME; kind: "model" or "dataset"."""

    name: str
    kind: str = "model"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the Hub states it.

    digest: SHA-256 when it is `large` (kept in large-file storage), else git's SHA-1 of a blob.
    """

    path: str
    size: int
    digest: str
    large: bool
    in_xet: bool = False

    @property
    def algorithm(self) -> str:
        """The name of `digest`'s algorithm, as manifests write it."""
        return "sha256" if self.large else "git_sha1"

    def hasher(self) -> Hasher:
        """A hash object that, fed with the file's bytes, ends at `digest`."""
        return new_hasher(self.large, self.size)


def new_hasher(large: bool, size: int) -> Hasher:
    """SHA-256, or SHA-1 begun with git's header of a blob of `size` bytes."""
    if large:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def page_url(repository: Repository, folder: str = "") -> str:
    """The web page of a repository's folder."""
    kind = "" if repository.kind == "model" else f"{repository.kind}s/"
    url = f"{hub_library.endpoint()}/{kind}{repository.name}"
    if folder:
        url += f"/tree/main/{folder}"
    return url


def _retried_while_busy(request: Callable[P, T]) -> Callable[P, T]:
    """Retry for some seconds while the Hub is busy; the library does so for some requests only."""

    @functools.wraps(request)
    def retried(*args: P.args, **kwargs: P.kwargs) -> T:
        for wait_s in _BUSY_WAITS_S:
            try:
                return request(*args, **kwargs)
            except HubBusyError:
                time.sleep(wait_s)
        return request(*args, **kwargs)

    return retried


@contextlib.contextmanager
def _answers(what: str) -> Iterator[None]:
    """Requests about `what` whose answers are JSON: bounded, and a HubError where they are odd."""
    hub = library()
    with translated_errors(what), hub_library.limited_answers(what, _PAGES, ANSWER_BYTES):
        try:
            yield
        except (hub.errors.HFValidationError, json.JSONDecodeError, OSError):
            raise
        except (*_MALFORMED, hub_library.invalid_address()) as error:
            raise HubError(
                f"{what}: the Hub's answer is malformed ({type(error).__name__})", NOT_OURS
            ) from None


@_retried_while_busy
def resolve_commit(repository: Repository, revision: str = "main") -> str:
    """The full hash of the commit that a branch, tag or short hash names now."""
    with _answers(repository.name):
        info = (
            library()
            .HfApi()
            .repo_info(repository.name, repo_type=repository.kind, revision=revision)
        )
        if not _SHA1.fullmatch(info.sha):
            raise HubError(f"{repository.name}: the Hub names a commit {info.sha!r:.60}", NOT_OURS)
        return str(info.sha)


@_retried_while_busy
def root_names(repository: Repository, commit: str) -> list[str]:
    """The names at the root of the repository, sorted; those of folders end with a slash."""
    names = []
    with _answers(repository.name):
        entries = (
            library()
            .HfApi()
            .list_repo_tree(repository.name, repo_type=repository.kind, revision=commit)
        )
        for entry in entries:
            names.append(entry.path if _is_file(entry) else f"{entry.path}/")
        return sorted(names)


@_retried_while_busy
def repo_tree(repository: Repository, commit: str, folder: str = "") -> list[RemoteFile]:
    """Every file below `folder`, by path."""
    files = []
    with _answers(f"{repository.name}/{folder}" if folder else repository.name):
        entries = (
            library()
            .HfApi()
            .list_repo_tree(
                repository.name,
                folder or None,
                recursive=True,
                repo_type=repository.kind,
                revision=commit,
            )
        )
        for entry in entries:
            if _is_file(entry):
                files.append(_remote_file(entry))
    return sorted(files, key=lambda file: file.path)


def _is_file(entry: Any) -> bool:
    # the library lists files and folders as two classes; only files have a size
    return hasattr(entry, "size")


def _remote_file(entry: Any) -> RemoteFile:
    """A file as listed. Raises HubError for a size or digest that is none.

    A digest names the file of a partial download, so that one with a slash could lead anywhere.
    """
    if entry.lfs is None:
        file = RemoteFile(entry.path, entry.size, entry.blob_id, large=False)
        digest = _SHA1
    else:
        in_xet = getattr(entry, "xet_hash", None) is not None
        size = entry.lfs.size
        file = RemoteFile(entry.path, size, entry.lfs.sha256, large=True, in_xet=in_xet)
        digest = _SHA256
    if not isinstance(file.path, str) or type(file.size) is not int or file.size < 0:
        raise HubError(f"the Hub lists {file.path!r:.200} with size {file.size!r:.60}", NOT_OURS)
    if not isinstance(file.digest, str) or not digest.fullmatch(file.digest):
        raise HubError(
            f"the Hub lists {file.path!r:.200} with digest {file.digest!r:.100}", NOT_OURS
        )
    return file


def xet_is_available() -> bool:
    """Whether hf-xet is installed and allowed; by it files in Xet storage come faster."""
    return bool(library().file_download.is_xet_available())


def download(
    repository: Repository, commit: str, file: RemoteFile, sink: Sink, offset: int
) -> None:
    """Append the file's bytes from `offset` on to `sink`, which holds those before.

    Asks for a range; where the Hub sends the whole file instead, the sink is emptied first. The
    library resumes by itself after a cut connection; where it gives up, the sink keeps what came.
    """
    hub = library()
    what = f"{repository.name}/{file.path}"
    limits = hub_library.limited_answers(what, _ANSWERS_PER_DOWNLOAD, file.size)
    with translated_errors(what), limits:
        address = hub.hf_hub_url(
            repository.name, file.path, repo_type=repository.kind, revision=commit
        )
        headers = hub.utils.build_hf_headers()
        hub.file_download.http_get(
            address, sink, resume_size=offset, headers=headers, expected_size=file.size
        )


def download_by_library(
    repository: Repository, commit: str, file: RemoteFile, folder: Path
) -> Path:
    """Let the library download the file below `folder`, by Xet where it can.

    An interrupted download starts over.
    """
    what = f"{repository.name}/{file.path}"
    limits = hub_library.limited_answers(what, _ANSWERS_PER_DOWNLOAD, file.size)
    with translated_errors(what), limits:
        path = library().hf_hub_download(
            repository.name,
            file.path,
            repo_type=repository.kind,
            revision=commit,
            local_dir=folder,
        )
    return Path(path)


def username() -> str:
    """The name of the logged-in user. Raises HubError without a valid login."""
    with _answers("your account"):
        return str(library().HfApi().whoami()["name"])


def create_repository(repository: Repository, private: bool) -> None:
    """Create the repository unless it exists.

    Raises HubError when it is to be private, but exists and is public.
    """
    api = library().HfApi()
    with _answers(repository.name):
        api.create_repo(repository.name, repo_type=repository.kind, private=private, exist_ok=True)
        if private and not api.repo_info(repository.name, repo_type=repository.kind).private:
            raise HubError(
                f"{repository.name} already exists, and is public",
                f"make it private at {page_url(repository)}/settings, or name another with --repo",
            )


@dataclass(frozen=True)
class Addition:
    """A file to commit.

    source: its path, its bytes, or a function that opens it (for a file that grows while it is
    sent, of which a fixed prefix is committed).
    """

    path: str
    source: Path | bytes | Callable[[], io.BufferedIOBase]


def commit(
    repository: Repository, additions: Sequence[Addition], message: str, threads: int = 4
) -> str:
    """Upload and commit; returns the commit's hash. Readers of the repository see all or nothing.

    Large files go first, one by one, and stay uploaded when the rest fails: the same call does not
    send them again.
    """
    hub = library()
    api = hub.HfApi()
    whole_files: list[Any] = []
    growing_files: list[Any] = []
    with contextlib.ExitStack() as open_files, translated_errors(repository.name):
        for addition in additions:
            if callable(addition.source):
                source = open_files.enter_context(addition.source())
                growing_files.append(hub.CommitOperationAdd(addition.path, source))
            else:
                whole_files.append(hub.CommitOperationAdd(addition.path, addition.source))
        # apart, because one open file among them keeps all of them from Xet
        for operations in (whole_files, growing_files):
            api.preupload_lfs_files(
                repository.name,
                operations,
                repo_type=repository.kind,
                num_threads=threads,
                free_memory=False,
            )
        info = api.create_commit(
            repository.name,
            [*whole_files, *growing_files],
            commit_message=message,
            repo_type=repository.kind,
            num_threads=threads,
        )
        return str(info.oid)


def file_digest(
    path: Path,
    large: bool,
    size: int,
    start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> str:
    """The Hub's digest of `size` bytes of a local file from `start`, or up to its end."""
    hasher = new_hasher(large, size)
    remaining = size
    with open(path, "rb") as handle:
        handle.seek(start)
        while remaining:
            chunk = handle.read(min(_READ_BYTES, remaining))
            if not chunk:
                break
            hasher.update(chunk)
            remaining -= len(chunk)
            if progress:
                progress(len(chunk))
    return hasher.hexdigest()
