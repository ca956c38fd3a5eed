"""Bad inputs of tools/run_demo.py."""

from pathlib import Path

from helpers.bad_inputs import ESCAPE, NAME, NOTHING, OUTPUT_FOLDER, Table, row


def prepare(folder: Path) -> None:
    """Nothing but the special files."""


TABLE = Table(
    tool="run_demo",
    prepare=prepare,
    lines={"": "500k500k100k --folder out"},
    kinds={
        "name": NAME.also(2, "x", "1b1", "../x", ESCAPE),
        "--workspace": NOTHING,
        "--folder": OUTPUT_FOLDER.but("dangling", "too long", "too deep").also(2, "a" * 2500),
    },
    rows=(
        row("500k500k100k more", 2, "more"),
        row("--folder", 2, "--folder"),
        row("500k500k100k --folder 'a b'", 2, "a b"),
    ),
)
