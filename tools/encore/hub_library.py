"""The Hub's own library, huggingface_hub: loaded on demand, with timeouts, its errors as one line.

It belongs to the extra `hub` and takes a second to import, so that no module imports it at its top.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from encore.errors import EncoreError, HubBusyError, HubError, HubUnreachableError

INSTALL_HINT = "in the kit's folder: pip install -e '.[hub]'"
LOGIN_HINT = "log in with `hf auth login`, or set HF_TOKEN"
PROBE_S = 5.0
# a commit of thousands of files keeps the Hub busy for minutes before it answers
_SILENCE_S = 300.0
_RETRY_LATER = "retry later; https://status.huggingface.co shows outages"
# source: huggingface_hub 1.33 utils/_validators.py
_REPOSITORY = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?", re.ASCII)
# a missing data/c4.jsonl has the form of a repository's name; the Hub need not be asked about it
_FILE_SUFFIXES = (
    *(".jsonl", ".json", ".ndjson", ".parquet", ".arrow", ".csv", ".tsv", ".txt"),
    *(".gz", ".zst", ".xz", ".bz2", ".zip"),
)
_BUSY_STATUSES = (408, 425, 429)


def is_installed() -> bool:
    """Whether there is a library to use."""
    return importlib.util.find_spec("huggingface_hub") is not None


@functools.cache
def library() -> ModuleType:
    """huggingface_hub with the submodules that the kit uses. Raises EncoreError without it."""
    if not is_installed():
        raise EncoreError("huggingface_hub is not installed", INSTALL_HINT)
    huggingface_hub = importlib.import_module("huggingface_hub")
    for name in ("constants", "errors", "file_download", "utils"):
        importlib.import_module(f"huggingface_hub.{name}")
    utils = huggingface_hub.utils
    if sys.stderr.isatty():
        # of downloads the kit shows one bar of its own; the library's bars of uploads stay
        utils.disable_progress_bars("huggingface_hub.http_get")
        utils.disable_progress_bars("huggingface_hub.xet_get")
    else:
        utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    utils.get_session().timeout = _SILENCE_S  # the library's default is to wait forever
    return huggingface_hub


def may_be_repository(name: str) -> bool:
    """Whether a text has the form of a repository's name, and not that of a path or file."""
    return bool(_REPOSITORY.fullmatch(name)) and not name.endswith(_FILE_SUFFIXES)


def endpoint() -> str:
    """The Hub's address: HF_ENDPOINT, or huggingface.co. Works without the library."""
    if is_installed():
        return str(library().constants.ENDPOINT)
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids requests."""
    return bool(library().constants.HF_HUB_OFFLINE)


def is_reachable() -> bool:
    """Whether the Hub may be asked and answers within PROBE_S, not with an error of its own."""
    hub = library()
    try:
        response = hub.utils.get_session().head(endpoint(), timeout=PROBE_S)
    except (hub.errors.HTTPError, OSError):
        return False
    return bool(response.status_code < 500)


def cached_files(repository: str, name: str, optional_names: Sequence[str] = ()) -> list[Path]:
    """A model repository's file and those of the optional ones that exist, in the library's cache.

    Without a Hub that answers, what is in the cache is used. Raises HubError.
    """
    hub = library()
    download = functools.partial(
        hub.hf_hub_download,
        repository,
        # asked once, because the library's own attempts on a silent Hub take minutes per file
        local_files_only=not is_reachable(),
    )
    paths = []
    with translated_errors(f"{repository}/{name}"):
        paths.append(Path(download(name)))
    for optional_name in optional_names:
        with translated_errors(f"{repository}/{optional_name}"):
            try:
                paths.append(Path(download(optional_name)))
            except hub.errors.LocalEntryNotFoundError as error:
                # also raised for a failed request, which is its cause then
                if error.__cause__ is not None:
                    raise
            except hub.errors.EntryNotFoundError:
                continue
    return paths


@contextlib.contextmanager
def short_timeout() -> Iterator[None]:
    """Within the block, a request fails when the Hub is silent for PROBE_S."""
    session = library().utils.get_session()
    session.timeout = PROBE_S
    try:
        yield
    finally:
        session.timeout = _SILENCE_S


@contextlib.contextmanager
def translated_errors(what: str) -> Iterator[None]:
    """Raise what the library raises about `what` (a repository, a file) as a HubError.

    Errors of this machine's files, and bugs, pass unchanged.
    """
    errors = library().errors
    try:
        yield
    except EncoreError:
        raise
    except RuntimeError as error:
        # the library's upload threads wrap what happened in a RuntimeError
        raise _translated(error.__cause__ or error, what) or error from None
    except (errors.HTTPError, OSError, ValueError) as error:
        raise _translated(error, what) or error from None


def _translated(error: BaseException, what: str) -> HubError | None:
    """The HubError for an error of the library, None for one that is not about the Hub."""
    errors = library().errors
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        # raised for every failed request when the file is not in the cache either
        error = error.__cause__
    is_uncached = isinstance(error, errors.LocalEntryNotFoundError)
    if isinstance(error, errors.OfflineModeIsEnabled) or (is_uncached and is_offline()):
        return HubError(
            f"{what}: HF_HUB_OFFLINE forbids requests to the Hub", "unset HF_HUB_OFFLINE"
        )
    if isinstance(error, errors.LocalTokenNotFoundError):
        return HubError(f"{what}: not logged in", LOGIN_HINT)
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"{what}: no such revision", "name a branch, tag or commit of it")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(
            f"{what} does not exist on the Hub, or you have no access",
            f"if it is private, {LOGIN_HINT}; to create your own, push with --create",
        )
    if isinstance(error, errors.EntryNotFoundError) and not is_uncached:
        return HubError(
            f"{what}: no such file or folder in the repository", f"see {endpoint()} for its files"
        )
    if isinstance(error, errors.HfHubHTTPError):
        return refusal(error.response.status_code, what)
    return _broken_answer(error, what)


def _broken_answer(error: BaseException, what: str) -> HubError | None:
    """The HubError where no complete answer came, or the request could not be made at all."""
    errors = library().errors
    if isinstance(
        error,
        errors.HTTPError | ConnectionError | TimeoutError | errors.LocalEntryNotFoundError,
    ):
        return HubUnreachableError(
            f"{what}: {endpoint()} does not answer ({type(error).__name__})",
            "check the network, then run the same command again",
        )
    if isinstance(error, errors.FileMetadataError | json.JSONDecodeError):
        return HubUnreachableError(
            f"{what}: the answer of {endpoint()} is not one of a Hub",
            "check HF_ENDPOINT, and the network for a proxy or a login page",
        )
    if isinstance(error, OSError) and error.errno is None:
        # the library's own check of a file's size
        return HubUnreachableError(
            f"{what}: the Hub's answer was cut short", "run the same command again"
        )
    if isinstance(error, RuntimeError):  # hf-xet's
        return HubUnreachableError(
            f"{what}: {_first_line(error)}",
            "run the same command again, or without Xet: HF_HUB_DISABLE_XET=1",
        )
    if isinstance(error, ValueError):
        return HubError(f"{what}: {_first_line(error)}", "write a repository as OWNER/NAME")
    return None


def refusal(status: int, what: str) -> HubError:
    """The HubError for an HTTP status that is an error."""
    if status in (401, 403):
        return HubError(
            f"{what}: permission denied ({status})", f"{LOGIN_HINT}; the token needs access to it"
        )
    if status in _BUSY_STATUSES or status >= 500:
        return HubBusyError(f"{what}: the Hub answered {status}", _RETRY_LATER)
    return HubError(
        f"{what}: the Hub rejected the request ({status})", f"see {endpoint()} for what it holds"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
