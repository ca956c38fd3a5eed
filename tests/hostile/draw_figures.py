"""Bad inputs of tools/draw_figures.py."""

from pathlib import Path

from helpers.bad_inputs import CHOICE, NOTHING, Table, row


def prepare(folder: Path) -> None:
    """Nothing but the special files."""


TABLE = Table(
    tool="draw_figures",
    prepare=prepare,
    lines={
        "list": "list",
        "draw": "draw 1 --out out",
        "own": "own curves --runs runs.csv --out out",
    },
    kinds={"names": CHOICE, "--runs": NOTHING, "--out": NOTHING, "--format": CHOICE},
    rows=(
        row("", 2, "list"),
        row("no-such", 2, "no-such"),
        row("draw 1", 2, "--out"),
        row("own", 2, "NAME"),
        row("own no-such --runs missing --out out", 2, "no-such"),
    ),
)
