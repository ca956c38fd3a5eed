"""The Hub's own library, huggingface_hub: loaded on demand, with timeouts and limits on what it
reads, its errors as one line.

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
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from encore.errors import (
    EncoreError,
    HubBusyError,
    HubError,
    HubUnreachableError,
    UsageError,
)

INSTALL_HINT = "in the kit's folder: pip install -e '.[hub]'"
LOGIN_HINT = "log in with `hf auth login`, or set HF_TOKEN"
PROBE_S = 5.0
_HUB = "https://huggingface.co"
# a commit of thousands of files keeps the Hub busy for minutes before it answers
_SILENCE_S = 300.0
NOT_OURS = "that is no answer of a Hub; check HF_ENDPOINT"
_RETRY_LATER = "retry later; https://status.huggingface.co shows outages"
# source: huggingface_hub 1.33 utils/_validators.py
_REPOSITORY = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?", re.ASCII)
# a missing data/c4.jsonl has the form of a repository's name; the Hub need not be asked about it
_FILE_SUFFIXES = (
    *(".jsonl", ".json", ".ndjson", ".parquet", ".arrow", ".csv", ".tsv", ".txt"),
    *(".gz", ".zst", ".xz", ".bz2", ".zip"),
)
_BUSY_STATUSES = (408, 425, 429)
# the library waits as long as an answer says; the Hub's windows are of five minutes
_LONGEST_RETRY_AFTER_S = 300
_WAIT_HEADERS = ("retry-after", "ratelimit")
# of an answer that is an error or a redirect
_ERROR_BODY_BYTES = 1 << 20


def is_installed() -> bool:
    """Whether there is a library to use."""
    return importlib.util.find_spec("huggingface_hub") is not None


def library() -> ModuleType:
    """huggingface_hub with the submodules that the kit uses.

    Raises EncoreError without it, UsageError for an HF_ENDPOINT that is no address.
    """
    _check_endpoint()
    return _load_library()


def _check_endpoint() -> None:
    address = os.environ.get("HF_ENDPOINT")
    if address is None or _is_address(address):
        return
    raise UsageError(
        f"HF_ENDPOINT {address!r:.200} is not the address of a Hub",
        f"begin it with https:// or http://, as in {_HUB}, or unset it",
    )


def _is_address(text: str) -> bool:
    """Whether a text is http(s)://HOST, with a port and a path where a mirror has them."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    is_plain = text.isascii() and text.isprintable() and not set(text) & set(" ?#\\")
    return is_plain and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


@functools.cache
def _load_library() -> ModuleType:
    if not is_installed():
        raise EncoreError("huggingface_hub is not installed", INSTALL_HINT)
    try:
        huggingface_hub = importlib.import_module("huggingface_hub")
        for name in ("constants", "errors", "file_download", "utils", "utils._http"):
            importlib.import_module(f"huggingface_hub.{name}")
    except ValueError as error:
        # it reads numbers from the environment when it is imported
        raise UsageError(
            f"huggingface_hub cannot use your environment: {_first_line(error)}",
            "see its variables with: env | grep ^HF_",
        ) from None
    utils = huggingface_hub.utils
    if sys.stderr.isatty():
        # of downloads the kit shows one bar of its own; the library's bars of uploads stay
        utils.disable_progress_bars("huggingface_hub.http_get")
        utils.disable_progress_bars("huggingface_hub.xet_get")
    else:
        utils.disable_progress_bars()
    utils.logging.set_verbosity_error()
    # the library makes another client after a failed connection, and after a fork
    huggingface_hub.set_client_factory(functools.partial(_client, huggingface_hub))
    return huggingface_hub


def may_be_repository(name: str) -> bool:
    """Whether a text has the form of a repository's name, and not that of a path or file."""
    return bool(_REPOSITORY.fullmatch(name)) and not name.endswith(_FILE_SUFFIXES)


def _client(hub: ModuleType) -> Any:
    """The library's own HTTP client with the kit's timeout, and with limits on its answers."""
    client = hub.utils._http.default_client_factory()
    client.timeout = _SILENCE_S  # the library's default is to wait forever
    # a compressed answer has no bound that its bytes show, and no ranges
    client.headers["Accept-Encoding"] = "identity"
    client.event_hooks["response"].append(_check_answer)
    return client


@dataclass
class _Limits:
    """How much is read about `what`: the number of answers, and the bytes of each."""

    what: str
    answers: int
    body_bytes: int


_limits: ContextVar[_Limits | None] = ContextVar("_limits", default=None)


@contextlib.contextmanager
def limited_answers(what: str, answers: int, body_bytes: int) -> Iterator[None]:
    """Within the block, this thread reads no more answers than that, and none that is longer.

    Raises HubError where the Hub sends more, or something compressed.
    """
    token = _limits.set(_Limits(what, answers, body_bytes))
    try:
        yield
    finally:
        _limits.reset(token)


def _check_answer(response: Any) -> None:
    """A hook of the HTTP client: refuse or bound an answer before its body is read."""
    for name in _WAIT_HEADERS:
        if _longest_number(response.headers.get(name, "")) > _LONGEST_RETRY_AFTER_S:
            del response.headers[name]
    limits = _limits.get()
    if limits is None:
        return
    limits.answers -= 1
    if limits.answers < 0:
        raise HubUnreachableError(
            f"{limits.what}: the Hub's answers do not come to an end", NOT_OURS
        )
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise HubError(f"{limits.what}: the Hub sends {encoding!r:.40} unasked", NOT_OURS)
    most = limits.body_bytes if response.is_success else _ERROR_BODY_BYTES
    if response.request.method != "HEAD":
        _bound_body(response, limits.what, most)


def _longest_number(text: str) -> int:
    """The largest whole number in a header, 0 without one."""
    numbers = re.findall(r"[0-9]{1,18}", text)
    return max(map(int, numbers), default=0)


def _bound_body(response: Any, what: str, most: int) -> None:
    """Let reading an answer's body end in a HubError after `most` bytes."""
    too_long = HubError(f"{what}: the Hub sends more than the {most:,} bytes expected", NOT_OURS)
    if _longest_number(response.headers.get("Content-Length", "")) > most:
        raise too_long
    iter_whole = response.iter_raw

    def iter_bounded(chunk_size: int | None = None) -> Iterator[bytes]:
        total_bytes = 0
        for chunk in iter_whole(chunk_size):
            total_bytes += len(chunk)
            if total_bytes > most:
                raise too_long
            yield chunk

    response.iter_raw = iter_bounded


def endpoint() -> str:
    """The Hub's address: HF_ENDPOINT, or huggingface.co. Works without the library."""
    if is_installed():
        return str(library().constants.ENDPOINT)
    _check_endpoint()
    return os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")


def invalid_address() -> type[Exception]:
    """What the HTTP library (httpx; in version 2 httpx2) raises for an address that is none."""
    module = library().errors.HTTPError.__module__.partition(".")[0]
    error: type[Exception] = sys.modules[module].InvalidURL
    return error


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
    if isinstance(error, errors.HFValidationError):
        return HubError(f"{what}: {_first_line(error)}", "write a repository as OWNER/NAME")
    if isinstance(error, ValueError):
        return HubError(f"{what}: {_first_line(error)}", NOT_OURS)
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
