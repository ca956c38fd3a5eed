"""Bad inputs of tools/sample_text.py."""

import shutil
from pathlib import Path

from helpers.bad_inputs import (
    COUNT,
    INPUT_FOLDER,
    INTEGER,
    NAME,
    NOTHING,
    NUMBER,
    POINTER,
    Table,
    row,
    spoiled,
)
from helpers.trainer_lines import TINY

_STEP = TINY / "tp1" / "checkpoint" / "global_step20"
_FILES = ("layer_04-model_00-model_states.pt", "mp_rank_00_model_states.pt")


def prepare(folder: Path) -> None:
    """A checkpoint and its tokenizer, and both with a file spoiled."""
    shutil.copytree(TINY / "tp1" / "checkpoint", folder / "run")
    for name in _FILES:
        for kind, data in spoiled((_STEP / name).read_bytes()).items():
            step = folder / f"{name.split('_')[0]}-{kind}" / "global_step20"
            shutil.copytree(_STEP, step)
            (step / name).write_bytes(data)
    (folder / "gpt2").mkdir()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(TINY / name, folder / "gpt2")
        for kind, data in spoiled((TINY / name).read_bytes()).items():
            target = folder / f"{name.split('.')[0]}-{kind}"
            shutil.copytree(folder / "gpt2", target, dirs_exist_ok=True)
            shutil.copy(TINY / "vocab.json", target)
            (target / name).write_bytes(data)
    for kind, data in spoiled(b"").items():
        (folder / f"tokenizer-{kind}").mkdir()
        (folder / f"tokenizer-{kind}" / "tokenizer.json").write_bytes(data)
    (folder / "empty-folder").mkdir()
    (folder / "file.json").write_bytes(POINTER)


_SPOILED = tuple(spoiled(b""))

TABLE = Table(
    tool="sample_text",
    prepare=prepare,
    lines={"": "run --tokenizer gpt2 --tokens 1"},
    kinds={
        "checkpoint": INPUT_FOLDER.also(
            1,
            *(f"{part}-{kind}" for part in ("layer", "mp") for kind in ("half", *_SPOILED)),
        ),
        "--tokenizer": NAME.also(
            1,
            *("missing", "empty-folder", "fifo", "file", "file.json"),
            *(f"tokenizer-{kind}" for kind in _SPOILED),
            *(f"vocab-{kind}" for kind in ("half", *_SPOILED)),
            *(f"merges-{kind}" for kind in ("noise", "pointer", "latin1.json")),
        ),
        "--prompt": NOTHING,
        "--tokens": COUNT,
        "--temperature": NUMBER,
        "--top-k": COUNT,
        "--seed": INTEGER,
    },
    rows=(
        row("", 2, "checkpoint"),
        row("run", 2, "--tokenizer"),
        row("run --tokenizer gpt2 more", 2, "more"),
        row("run --tokenizer gpt2 --tokens 1 --prompt", 2, "--prompt"),
    ),
)
