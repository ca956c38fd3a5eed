"""A command that is killed at any moment, and run again, ends as one run would, with no leftovers.

`make test` samples some moments; `make bench-kills` sets ENCORE_KILLS, kills of each command.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from encore.tokens import split_join
from helpers.commands import run_command
from helpers.kills import kills
from helpers.trainer_lines import TINY

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("ENCORE_KILLS", "4"))
_PAIR = TINY / "data" / "tiny_text_document"
_STEP = TINY / "tp1" / "checkpoint"


@dataclass(frozen=True)
class Writer:
    """A command line that writes, and what lies in the folder before it."""

    line: str
    prepare: Callable[[Path], object]

    def run(self, folder: Path) -> None:
        tool, *words = self.line.split()
        ended = run_command(tool, *words, cwd=folder)
        assert ended.returncode == 0, ended.stderr


def pair(folder: Path) -> None:
    for suffix in (".bin", ".idx"):
        shutil.copy(f"{_PAIR}{suffix}", folder / f"x{suffix}")


def parts(folder: Path) -> None:
    pair(folder)
    Writer("bins split x --parts 20", pair).run(folder)
    (folder / "x.bin").unlink()


def text(folder: Path) -> None:
    lines = []
    for number in range(2000):
        lines.append(json.dumps({"text": f"a few words, and number {number}"}) + "\n")
    (folder / "a.jsonl").write_text("".join(lines))
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(TINY / name, folder)


def steps(folder: Path) -> None:
    for number in (10, 20, 30):
        shutil.copytree(_STEP / "global_step20", folder / "run" / f"global_step{number}")
        states = folder / "run" / f"global_step{number}" / "mp_rank_00_model_states.pt"
        os.utime(states, (1, 1))


def model(folder: Path) -> None:
    Writer(f"convert_checkpoint to-transformers {_STEP} model", nothing).run(folder)


def nothing(folder: Path) -> None:
    """An empty folder."""


WRITERS = [
    Writer("bins split x --parts 20", pair),
    Writer("bins cat x", parts),
    Writer("bins cat x --remove-parts", parts),
    Writer("bins merge x x --output-prefix y", pair),
    Writer("prepare_corpus tokenize a.jsonl --tokenizer . --output-prefix y", text),
    Writer("prepare_corpus subset a.jsonl --tail 1000 --output b.jsonl.gz", text),
    Writer(f"convert_checkpoint to-transformers {_STEP} y --max-shard-size 20000", nothing),
    Writer(f"convert_checkpoint reshard {_STEP} y --tp 2 --pp 2", nothing),
    Writer("convert_checkpoint to-megatron model y --tp 2", model),
    Writer("prune_checkpoints run --keep-last 1 --idle 0 --delete", steps),
    Writer(f"export_tensorboard {TINY}/tp1/tensorboard --out y.csv y.html", nothing),
    Writer("render_sbatch 500k500k100k --cluster local --out y.sh", nothing),
]


def content(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, with the bytes of files."""
    entries: dict[str, bytes | None] = {}
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else None
        entries[str(path.relative_to(folder))] = data
    return entries


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.line.replace(str(TINY), ""))
def test_killed_and_run_again_it_ends_the_same(
    writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a killed process, unlike a killed machine, loses nothing that it wrote; syncing is slow
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    # several times within the parts of the test
    monkeypatch.setattr(split_join, "_COMMIT_BYTES", 50_000)
    source, folder = tmp_path / "source", tmp_path / "folder"
    source.mkdir()
    writer.prepare(source)

    def restore() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)

    restore()
    # what is imported late is imported before the forks
    writer.run(folder)
    after = content(folder)
    for _ in kills(KILLS, restore, lambda: writer.run(folder)):
        writer.run(folder)
        assert content(folder) == after
