"""Bad inputs of tools/prune_checkpoints.py."""

import shutil
from pathlib import Path

from helpers.bad_inputs import COUNT, INPUT, NUMBER, Table, row
from helpers.trainer_lines import TINY


def prepare(folder: Path) -> None:
    """A run's checkpoints, and folders that are none."""
    shutil.copytree(TINY / "tp1" / "checkpoint", folder / "runs" / "run")
    (folder / "other").mkdir()
    (folder / "other" / "a.txt").write_text("mine\n")


TABLE = Table(
    tool="prune_checkpoints",
    prepare=prepare,
    lines={"": "runs/run --keep-last 1 --delete"},
    kinds={
        "folders": INPUT.also(1, "file", "fifo", "runs", "runs/run/global_step20"),
        "--keep-last": COUNT,
        "--keep-every": COUNT,
        "--idle": NUMBER,
    },
    rows=(
        row("", 2, "FOLDER"),
        row("runs/run missing --keep-last 1 --delete", 1, "missing"),
        row("runs/run --keep-last 1 --kep-every 3 --delete", 2, "--kep-every"),
    ),
)
