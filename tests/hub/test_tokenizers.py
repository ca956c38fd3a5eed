"""tools/hub.py pull of a tokenizer: the registry's bytes arrive, or nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from encore import files
from encore.registry.tokenizers import load_tokenizers
from helpers.commands import run_command
from helpers.hub_bench import below
from helpers.hub_here import hub_of_this_process
from helpers.hub_server import Hub

GPT2 = Path(__file__).parents[1] / "data" / "gpt2"
FACTS = load_tokenizers()["gpt2"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_of_this_process(tmp_path / "cache", monkeypatch) as server:
        content = {name: (GPT2 / name).read_bytes() for name in FACTS.files}
        server.add(str(FACTS.repository), content | {"model.safetensors": b"x"})
        yield server


def test_a_tokenizer_comes_by_its_name_with_the_registrys_hashes(hub: Hub, tmp_path: Path) -> None:
    ended = run_command("hub", "pull", "gpt2", "--out", "tokenizers/gpt2", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    out = tmp_path / "tokenizers" / "gpt2"
    assert set(below(out)) == {"vocab.json", "merges.txt", "hub-manifest.json"}
    for name, digest in FACTS.files.items():
        assert files.sha256(out / name) == digest


def test_other_bytes_than_the_registrys_are_refused(hub: Hub, tmp_path: Path) -> None:
    # a Hub that states their hash truly
    hub.add(str(FACTS.repository), {"merges.txt": b"#version: 0.2\nh e\n"})
    ended = run_command("hub", "pull", "gpt2", cwd=tmp_path)
    assert ended.returncode == 1 and "error: merges.txt: the bytes received differ" in ended.stderr
    assert not (tmp_path / "gpt2" / "merges.txt").exists()


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (("demo",), "tokenizer demo is in no repository; trained on the demo's text"),
        (("gpt2", "--what", "logs"), "gpt2 is a tokenizer; --repo, --what and --step are for runs"),
        (("gpt3",), "unknown run, data set or tokenizer 'gpt3'; valid: gpt2"),
    ],
)
def test_what_cannot_be_pulled_says_why(argv: tuple[str, ...], what: str) -> None:
    ended = run_command("hub", "pull", *argv)
    assert ended.returncode == 2 and what in ended.stderr and ended.stderr.count("\n") == 1
