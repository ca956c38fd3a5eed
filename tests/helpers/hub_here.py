"""A hub on loopback that the Hub's library of the tests' own process asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from encore import hub_library
from encore.hub import client, download
from helpers.hub_server import TOKEN, Hub, running


@contextmanager
def hub_of_this_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, with an empty cache in `home`; nobody waits between attempts."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    constants = hub_library.library().constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "cache"))
    # the library waits up to 8 s between its attempts
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    monkeypatch.setattr(client, "_BUSY_WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(download, "_LONGEST_WAIT_S", 0.0)
    with running() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server
