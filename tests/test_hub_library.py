"""The Hub's library: every failure is one line with a next step, and tokenizers come by it too."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from encore import hub_library
from encore.errors import EncoreError, HubBusyError, HubError, HubUnreachableError, UsageError
from encore.tokens import tokenizer
from helpers.hub_here import hub_of_this_process
from helpers.hub_server import Hub

REPO = "someone/words"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on loopback that the library of this process asks, with an empty cache."""
    with hub_of_this_process(tmp_path, monkeypatch) as server:
        yield server


def words_json() -> bytes:
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0, "</s>": 1}, "unk_token": "[UNK]"}
    return json.dumps({"version": "1.0", "model": model, "added_tokens": []}).encode()


def test_a_tokenizer_comes_with_the_configuration_that_it_has(hub: Hub) -> None:
    config = json.dumps({"eos_token": "</s>"}).encode()
    hub.add(REPO, {"tokenizer.json": words_json(), "tokenizer_config.json": config})
    words = tokenizer.load(REPO)
    assert (words.eod, len(words.paths)) == (1, 2)
    hub.fault("HEAD", "/", 503, 1000)  # what is cached is used where the Hub fails
    assert tokenizer.load(REPO).eod == 1


FAILURES = [
    (401, HubError, "permission denied (401)"),
    (403, HubError, "permission denied (403)"),
    (404, HubError, "the Hub rejected the request (404)"),
    (500, HubBusyError, "the Hub answered 500"),
    ("lost", HubUnreachableError, "does not answer (RemoteProtocolError)"),
]


@pytest.mark.parametrize(("fault", "kind", "text"), FAILURES)
def test_a_tokenizer_that_does_not_come_is_one_line_as_for_any_file(
    hub: Hub, fault: int | str, kind: type[HubError], text: str
) -> None:
    hub.add(REPO, {"tokenizer.json": words_json()})
    hub.fault("HEAD", "/resolve/", fault, 1000)
    with pytest.raises(HubError) as caught:
        tokenizer.load(REPO)
    assert type(caught.value) is kind and caught.value.hint
    message = str(caught.value)
    assert message.startswith(f"tokenizer {REPO} is not a local folder, and {REPO}/tokenizer.json:")
    assert message.endswith(text) and "\n" not in message + caught.value.hint


def test_a_configuration_that_fails_to_come_is_not_taken_for_one_that_does_not_exist(
    hub: Hub,
) -> None:
    """Without its configuration a tokenizer would end documents with another token."""
    config = json.dumps({"eos_token": "</s>"}).encode()
    hub.add(REPO, {"tokenizer.json": words_json(), "tokenizer_config.json": config})
    hub.fault("HEAD", "/resolve/main/tokenizer_config", 500, 1000)
    with pytest.raises(HubBusyError, match=r"tokenizer_config.json: the Hub answered 500"):
        tokenizer.load(REPO)


def test_a_silent_hub_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    monkeypatch.setattr(hub_library, "PROBE_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(hub_library.library().constants, "ENDPOINT", url)
        assert not hub_library.is_reachable()
        with pytest.raises(HubUnreachableError, match=f"{url} does not answer"):
            tokenizer.load(REPO)


def test_an_answer_that_is_no_hubs_is_one_line(hub: Hub) -> None:
    refused = pytest.raises(HubUnreachableError, match="is not one of a Hub")
    with refused as caught, hub_library.translated_errors("x/y"):
        json.loads("<html>log in to the campus network</html>")
    assert "HF_ENDPOINT" in caught.value.hint


def test_every_refusal_is_a_hub_error_with_a_next_step() -> None:
    for status, kind in ((401, HubError), (403, HubError), (404, HubError), (429, HubBusyError)):
        error = hub_library.refusal(status, "x/y")
        assert type(error) is kind and str(status) in str(error) and error.hint
    assert type(hub_library.refusal(503, "x/y")) is HubBusyError
    assert not issubclass(HubError, UsageError)


def test_errors_of_the_disk_and_bugs_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), hub_library.translated_errors("x/y"):
        (tmp_path / "absent").read_bytes()
    with pytest.raises(KeyError), hub_library.translated_errors("x/y"):
        raise KeyError("a bug stays a bug")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:8080", "", "huggingface.co", "ftp://x", "http://", "http:///x", "https://[::1",
     "http://x:99999", "http://x:0", "http://x y", "https://x/?a=b", "//x", "https://é", "file:///x"],
)  # fmt: skip
def test_an_endpoint_that_is_no_address_is_named(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    for ask in (hub_library.library, hub_library.endpoint, hub_library.is_reachable):
        with pytest.raises(UsageError, match="is not the address of a Hub") as caught:
            ask()
        assert "https:// or http://" in caught.value.hint


@pytest.mark.parametrize("address", ["http://[::1]:8080", "https://mirror.example/api/hf/"])
def test_an_endpoint_may_have_a_port_and_a_path(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert hub_library.library() is not None


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hub_library.sys.modules, "huggingface_hub", None)
    hub_library._load_library.cache_clear()
    with pytest.raises(EncoreError, match="huggingface_hub is not installed") as caught:
        hub_library.library()
    assert caught.value.hint.endswith("pip install -e '.[hub]'")
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert hub_library.endpoint() == "https://mirror.example"
