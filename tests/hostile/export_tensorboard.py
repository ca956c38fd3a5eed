"""Bad inputs of tools/export_tensorboard.py."""

import shutil
from pathlib import Path

from helpers.bad_inputs import (
    CHOICE,
    COUNT,
    INPUT_FOLDER,
    NAME,
    NOTHING,
    NUMBER,
    OUTPUT,
    Table,
    row,
    spoiled,
)
from helpers.event_files import GENUINE, write_scalars

_FILE = "events.out.tfevents.1.host.1.0"


def prepare(folder: Path) -> None:
    """Two runs, and folders of files that hold no events."""
    shutil.copytree(GENUINE, folder / "runs" / "one")
    shutil.copytree(GENUINE, folder / "runs" / "two")
    for kind, data in spoiled(b"").items():
        (folder / f"run-{kind}").mkdir()
        (folder / f"run-{kind}" / _FILE).write_bytes(data)
    (folder / "run-folder" / _FILE).mkdir(parents=True)
    (folder / "run-dangling").mkdir()
    (folder / "run-dangling" / _FILE).symlink_to("nowhere")
    (folder / "folder.csv").mkdir()
    (folder / "folder.html").mkdir()
    (folder / "folder.png").mkdir()
    many = []
    for number in range(30):
        many.append((1.0, 1, f"tag {number}", 1.0))
    write_scalars(folder / "many" / _FILE, many)


TABLE = Table(
    tool="export_tensorboard",
    prepare=prepare,
    lines={"": "runs/one --out out.csv"},
    kinds={
        "folders": INPUT_FOLDER.also(
            1, *(f"run-{kind}" for kind in spoiled(b"")), "run-folder", "run-dangling"
        ),
        "--out": OUTPUT.but("too long", "too deep", "loop", "below a file", "nowhere")
        .also(1, "file/x.csv", "/proc/nowhere/x.csv", "folder.csv", "folder.html", "folder.png")
        .also(1, "a" * 300 + ".csv", "b/" * 3000 + "x.csv")
        .also(2, "out.txt", "out", ".csv", "out.CSV", "folder", "out.csv.gz"),
        "--tags": NAME.also(2, "no-such-*"),
        "--x": CHOICE,
        "--unique-tokens": COUNT,
        "--smoothing": NUMBER.also(2, "1", "0.995"),
        "--title": NOTHING,
        "--repo": NAME,
    },
    rows=(
        row("", 2, "FOLDER"),
        row("runs/one missing --out out.csv", 1, "missing"),
        row("runs/one --tags a --losses", 2, "--losses"),
        row("runs/one --out out.csv out.txt", 2, "out.txt"),
        row("runs/one --out out.csv --unique-tokens 100k", 2, "--unique-tokens"),
        row("runs/one --out out.png --unique-tokens 100k", 2, "--unique-tokens"),
        row("many --out out.png", 2, "30 tags"),
        row("runs/one --repo a/b", 2, "--push"),
        row("runs/one --create", 2, "--push"),
        row("runs --push --repo a/b", 2, "--repo"),
        row("runs/one --tags", 2, "--tags"),
        row("runs/one --out", 2, "--out"),
    ),
)
