"""Bad inputs of tools/convert_checkpoint.py."""

import shutil
from pathlib import Path

from helpers.bad_inputs import (
    COUNT,
    INPUT_FOLDER,
    NAME,
    OUTPUT_FOLDER,
    POINTER,
    Table,
    row,
    spoiled,
)
from helpers.trainer_lines import TINY

_STEP = TINY / "tp1" / "checkpoint" / "global_step20"
_LAYER = "layer_04-model_00-model_states.pt"
_STATES = "mp_rank_00_model_states.pt"


def prepare(folder: Path) -> None:
    """A run's checkpoints, a transformers model, and both with a file spoiled."""
    from encore.checkpoints.convert import to_transformers

    shutil.copytree(TINY / "tp1" / "checkpoint", folder / "run")
    to_transformers(_STEP, folder / "model", None, 10**9)
    for name in (_LAYER, _STATES):
        short = "layer" if name == _LAYER else "states"
        for kind, data in spoiled((_STEP / name).read_bytes()).items():
            if kind != "longer":
                copy_with(_STEP, folder / f"{short}-{kind}" / "global_step20", name, data)
        missing = folder / f"{short}-missing" / "global_step20"
        copy_with(_STEP, missing, name, b"")
        (missing / name).unlink()
    for name in ("config.json", "model.safetensors"):
        short = name.split(".")[0]
        for kind, data in spoiled((folder / "model" / name).read_bytes()).items():
            if (short, kind) not in (("config", "longer"), ("model", "longer")):
                copy_with(folder / "model", folder / f"{short}-{kind}", name, data)
    for kind in ("empty-folder", "other-folder"):
        (folder / kind).mkdir()
    (folder / "other-folder" / "a.txt").write_text("mine\n")
    (folder / "latest-lies").mkdir()
    (folder / "latest-lies" / "latest").write_text("global_step999")
    (folder / "only-torn" / "global_step20").mkdir(parents=True)
    (folder / "pointer-tokenizer").mkdir()
    (folder / "pointer-tokenizer" / "tokenizer.json").write_bytes(POINTER)


def copy_with(source: Path, target: Path, name: str, data: bytes) -> None:
    """A copy of a folder (its files are links to the same bytes) with one file of other bytes."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    (target / name).write_bytes(data)


_TORN = tuple(
    f"{part}-{kind}"
    for part in ("layer", "states")
    for kind in ("missing", "half", *(k for k in spoiled(b"")))
)
_SPOILED_MODELS = tuple(
    f"{part}-{kind}" for part in ("config", "model") for kind in ("half", *spoiled(b""))
)
_STEP_FOLDER = INPUT_FOLDER.also(1, *_TORN, "empty-folder", "other-folder", "only-torn", "model")
_MODEL = INPUT_FOLDER.also(1, *_SPOILED_MODELS, "empty-folder", "run/global_step20")
_OUT = OUTPUT_FOLDER.but("dangling").also(1, "other-folder", "run")

TABLE = Table(
    tool="convert_checkpoint",
    prepare=prepare,
    lines={
        "to-transformers": "to-transformers run out",
        "to-megatron": "to-megatron model out",
        "reshard": "reshard run out",
        "verify": "verify run model",
        "inspect": "inspect run",
    },
    kinds={
        "source": _STEP_FOLDER,
        "to-megatron source": _MODEL,
        "out": _OUT,
        "one": INPUT_FOLDER.also(1, "layer-half", "config-half"),
        "other": INPUT_FOLDER.also(1, "layer-half", "config-half"),
        "path": INPUT_FOLDER.also(1, "empty-folder", "other-folder"),
        "--tokenizer": NAME.also(1, "missing", "empty-folder", "pointer-tokenizer", "file"),
        "--tp": COUNT.also(2, "3", "1000000000000"),
        "--pp": COUNT.also(2, "3", "1000000000000"),
        "--max-shard-size": COUNT,
    },
    rows=(
        row("", 2, "ACTION"),
        row("no-such run out", 2, "no-such"),
        row("inspect", 2, "PATH"),
        row("inspect run more", 2, "more"),
        row("to-transformers run", 2, "OUT"),
        row("to-transformers latest-lies out", 1, "latest-lies"),
    ),
)
