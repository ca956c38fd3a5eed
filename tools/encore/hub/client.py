"""The Hugging Face Hub as the kit uses it: what is in a repository, a file's bytes, a commit.

A thin room around huggingface_hub, imported when first needed: it does the requests, most retries, the login
(`hf auth login` or HF_TOKEN; no token passes through the kit), mirrors and offline mode (HF_ENDPOINT, HF_HUB_OFFLINE)
and Xet storage. Whatever it raises becomes a HubError of one line; HubUnreachableError where another try may help.
"""

import contextlib
import functools
import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from encore.errors import EncoreError, HubBusyError, HubError, HubUnreachableError

_LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_PROBE_S = 5.0
_SILENCE_S = 300.0
_BUSY_WAITS_S = (1.0, 3.0)

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Repository:
    """A repository by its full name, OWNER/NAME; kind: "model" or "dataset"."""

    name: str
    kind: str = "model"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the Hub states it: by SHA-256 when it is in large-file storage, else by git's SHA-1 of a blob."""

    path: str
    size: int
    digest: str
    large: bool
    in_xet: bool = False

    @property
    def algorithm(self) -> str:
        """The name of `digest`'s kind, as manifests write it."""
        return "sha256" if self.large else "git_sha1"

    def hasher(self) -> Any:
        """A hashlib object that takes the file's bytes and ends at `digest`."""
        return hasher(self.large, self.size)


def hasher(large: bool, size: int) -> Any:
    """SHA-256, or SHA-1 begun with git's header of a blob of `size` bytes."""
    return hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


@functools.cache
def _library() -> Any:
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors, file_download, utils  # noqa: F401 — else no attributes of it
    except ImportError:
        raise EncoreError(
            "huggingface_hub is not installed", "pip install huggingface_hub"
        ) from None
    # of downloads the kit shows one bar of its own; those of uploads are the library's, on a terminal alone
    for bars in (
        (None,)
        if not sys.stderr.isatty()
        else ("huggingface_hub.http_get", "huggingface_hub.xet_get")
    ):
        utils.disable_progress_bars(bars)
    utils.logging.set_verbosity_error()
    utils.get_session().timeout = _SILENCE_S  # the library's default is to wait for ever
    return huggingface_hub


def endpoint() -> str:
    """Where the Hub is: HF_ENDPOINT, or huggingface.co."""
    return str(_library().constants.ENDPOINT)


def page_url(repository: Repository, folder: str = "") -> str:
    """The page of a repository's folder."""
    kind = "" if repository.kind == "model" else f"{repository.kind}s/"
    return f"{endpoint()}/{kind}{repository.name}" + (f"/tree/main/{folder}" if folder else "")


@contextlib.contextmanager
def _asking(what: str) -> Iterator[None]:
    """Whatever the library raises about `what`, as a HubError."""
    errors = _library().errors
    try:
        yield
    except EncoreError:
        raise
    except RuntimeError as error:  # of the library's upload threads, around what really happened
        raise _translated(error.__cause__ or error, what) or error from None
    except (errors.HTTPError, OSError, ValueError) as error:
        raise _translated(error, what) or error from None


def _translated(error: BaseException, what: str) -> HubError | None:
    errors = _library().errors
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubError(
            f"{what}: the Hub may not be asked, HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"
        )
    if isinstance(error, errors.LocalTokenNotFoundError):
        return HubError(f"{what}: no token", _LOGIN)
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"{what}: there is no such revision", "check --revision")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"{what} is not on the Hub, or not for you to see",
            f"check the name (push makes it with --create); if it is private, {_LOGIN}",
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return HubUnreachableError(f"{what}: {endpoint()} does not answer", "try again later")
    if isinstance(error, errors.EntryNotFoundError):
        return HubError(f"{what}: no such file or folder in the repository", "check the name")
    if isinstance(error, errors.HfHubHTTPError):
        return _refusal(error.response.status_code, what)
    if isinstance(error, errors.HTTPError | ConnectionError | TimeoutError):
        return HubUnreachableError(
            f"{what}: {endpoint()} does not answer ({type(error).__name__})", "try again later"
        )
    if (
        isinstance(error, OSError) and error.errno is None
    ):  # the library's own check of a file's size
        return HubUnreachableError(f"{what}: the Hub's answer was cut short", "try again")
    if isinstance(error, RuntimeError):  # hf-xet's
        return HubUnreachableError(
            f"{what}: {_first_line(error)}", "try again, or without Xet: HF_HUB_DISABLE_XET=1"
        )
    if isinstance(error, ValueError):
        return HubError(f"{what}: {_first_line(error)}", "check the names")
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _refusal(status: int, what: str) -> HubError:
    if status in (401, 403):
        return HubError(
            f"{what}: the Hub says no ({status})", f"{_LOGIN}, with the right to do this"
        )
    if status in (408, 425, 429) or status >= 500:
        return HubBusyError(f"{what}: the Hub answered {status}", "try again later")
    return HubError(f"{what}: the Hub answered {status}", "check the names and options")


def _patient(ask: Callable[Asked, Answer]) -> Callable[Asked, Answer]:
    """`ask`, tried again for some seconds while the Hub is busy; the library does so for some of its requests only."""

    @functools.wraps(ask)
    def asked(*args: Asked.args, **kwargs: Asked.kwargs) -> Answer:
        for wait_s in _BUSY_WAITS_S:
            try:
                return ask(*args, **kwargs)
            except HubBusyError:
                time.sleep(wait_s)
        return ask(*args, **kwargs)

    return asked


def reachable() -> bool:
    """Whether the Hub answers within a few seconds; never waits for more."""
    library = _library()
    try:
        library.utils.get_session().head(endpoint(), timeout=_PROBE_S)
    except (library.errors.HTTPError, OSError):
        return False
    return True


@_patient
def resolve_commit(repository: Repository, revision: str = "main") -> str:
    """The full hash of the commit that a branch, tag or short hash names now."""
    with _asking(repository.name):
        return str(
            _library()
            .HfApi()
            .repo_info(repository.name, repo_type=repository.kind, revision=revision)
            .sha
        )


@_patient
def root_names(repository: Repository, commit: str) -> list[str]:
    """The names at the root of the repository, folders with a slash behind them."""
    library = _library()
    with _asking(repository.name):
        entries = library.HfApi().list_repo_tree(
            repository.name, repo_type=repository.kind, revision=commit
        )
        return sorted(entry.path + "/" * (not hasattr(entry, "size")) for entry in entries)


@_patient
def repo_tree(repository: Repository, commit: str, folder: str = "") -> list[RemoteFile]:
    """Every file below `folder`, by path."""
    library = _library()
    with _asking(f"{repository.name}/{folder}" if folder else repository.name):
        entries = library.HfApi().list_repo_tree(
            repository.name,
            folder or None,
            recursive=True,
            repo_type=repository.kind,
            revision=commit,
        )
        return sorted(
            (_remote(entry) for entry in entries if hasattr(entry, "size")),
            key=lambda file: file.path,
        )


def _remote(entry: Any) -> RemoteFile:
    if entry.lfs is None:
        return RemoteFile(entry.path, entry.size, entry.blob_id, large=False)
    in_xet = getattr(entry, "xet_hash", None) is not None
    return RemoteFile(entry.path, entry.lfs.size, entry.lfs.sha256, large=True, in_xet=in_xet)


def xet_is_available() -> bool:
    """Whether files in Xet storage come by hf-xet, in chunks and faster than by plain HTTP (HF_HUB_DISABLE_XET)."""
    return bool(_library().file_download.is_xet_available())


def download(repository: Repository, commit: str, file: RemoteFile, sink: Any, have: int) -> None:
    """Append to `sink`, which holds the first `have` bytes already, what is missing; a range, where the Hub agrees.

    sink: has write, tell, seek and truncate; the latter two begin it anew where the Hub sends all instead of the range.
    The library goes on by itself after a cut connection; where it gives up, what came so far is in the sink.
    """
    library = _library()
    with _asking(f"{repository.name}/{file.path}"):
        address = library.hf_hub_url(
            repository.name, file.path, repo_type=repository.kind, revision=commit
        )
        headers = library.utils.build_hf_headers()
        headers["Accept-Encoding"] = "identity"  # a range of compressed bytes is of no use
        library.file_download.http_get(
            address, sink, resume_size=have, headers=headers, expected_size=file.size
        )


def download_whole(repository: Repository, commit: str, file: RemoteFile, folder: Path) -> Path:
    """The file below `folder`, as the library downloads it: by Xet where it can; an interrupted one starts over."""
    with _asking(f"{repository.name}/{file.path}"):
        return Path(
            _library().hf_hub_download(
                repository.name,
                file.path,
                repo_type=repository.kind,
                revision=commit,
                local_dir=folder,
            )
        )


def username() -> str:
    """The name of who is logged in."""
    with _asking("who is logged in"):
        return str(_library().HfApi().whoami()["name"])


def create_repository(repository: Repository, private: bool) -> None:
    """Make the repository unless it is there; raises HubError when it is there for all to see and may not be."""
    api = _library().HfApi()
    with _asking(repository.name):
        api.create_repo(repository.name, repo_type=repository.kind, private=private, exist_ok=True)
        if private and not api.repo_info(repository.name, repo_type=repository.kind).private:
            raise HubError(
                f"{repository.name} is there already, and public",
                "make it private on its page, or choose another --repo",
            )


@dataclass(frozen=True)
class Addition:
    """A file to commit: from a path, from bytes, or, opened while it is sent, from the beginning of a growing file."""

    path: str
    source: Path | bytes | Callable[[], io.BufferedIOBase]


def commit(
    repository: Repository, additions: Sequence[Addition], message: str, threads: int = 4
) -> str:
    """Upload and commit; returns the commit's hash. A reader of the repository sees all of it or nothing.

    Large files go first, one by one, and stay uploaded when the rest fails: the same call does not send them again.
    """
    library, api = _library(), _library().HfApi()
    with contextlib.ExitStack() as opened, _asking(repository.name):
        whole, growing = [], []
        for addition in additions:
            grows = callable(addition.source)
            source = (
                opened.enter_context(addition.source())
                if callable(addition.source)
                else addition.source
            )
            (growing if grows else whole).append(library.CommitOperationAdd(addition.path, source))
        for operations in (
            whole,
            growing,
        ):  # apart: one open file among them would keep all from Xet
            api.preupload_lfs_files(
                repository.name,
                operations,
                repo_type=repository.kind,
                num_threads=threads,
                free_memory=False,
            )
        done = api.create_commit(
            repository.name,
            [*whole, *growing],
            commit_message=message,
            repo_type=repository.kind,
            num_threads=threads,
        )
        return str(done.oid)


def file_digest(
    path: Path,
    large: bool,
    size: int,
    start: int = 0,
    progress: Callable[[int], None] | None = None,
) -> str:
    """The Hub's digest of `size` bytes of a file from `start`; of fewer where the file ends before."""
    found = hasher(large, size)
    with open(path, "rb") as handle:
        handle.seek(start)
        while size and (chunk := handle.read(min(_READ_BYTES, size))):
            found.update(chunk)
            size -= len(chunk)
            if progress:
                progress(len(chunk))
    return str(found.hexdigest())
