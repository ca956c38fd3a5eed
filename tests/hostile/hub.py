"""Bad inputs of tools/hub.py: its command line and files; hostile hubs are another table."""

from pathlib import Path

from helpers.bad_inputs import (
    CHOICE,
    COUNT,
    ESCAPE,
    NAME,
    NOTHING,
    Table,
    row,
)
from hostile import request


def prepare(folder: Path) -> None:
    """A folder to push, and the user's configurations."""
    request.prepare(folder)
    (folder / "fifo").touch()
    (folder / "run").mkdir()
    (folder / "run" / "notes.txt").write_text("mine\n")
    (folder / "empty-folder").mkdir()


_LOCAL = "500k500k100k run --cluster local --repo me/run"

TABLE = Table(
    tool="hub",
    prepare=prepare,
    lines={
        "list": "list",
        "where": "where 146m14b400m",
        "pull": "pull 146m14b400m --dry-run",
        "push": f"push {_LOCAL} --dry-run",
        "sync": f"sync {_LOCAL}",
    },
    kinds={
        **request.KINDS,
        "where run": NAME.also(2, "147m14b400m", "no-such", ESCAPE, "../x"),
        "match": NOTHING,
        "name": NAME.also(2, "147m14b400m", "no-such", ESCAPE),
        "list --repo": CHOICE,
        "pull --repo": NAME.also(1, "a/b/c", "/b", "a/", "../x").also(2, "no-owner"),
        "--repo": NAME.also(1, "/b", "a/", "../x").also(2, "no-owner", "a/b/c"),
        "--revision": NAME,
        "--step": NAME.also(2, "0.5", "-1", "newest", "nan", "١", ESCAPE),
        "--nodes": COUNT,
        "--jobs": COUNT.also(2, "33"),
        "--out": NAME,
        "folder": NAME,
        "--patterns": NAME,
        "--every": COUNT.also(2, "10", "1w", "-1s", "0.1s"),
    },
    rows=(
        row("", 2, "COMMAND", "list"),
        row("no-such", 2, "no-such"),
        row("where", 2, "RUN"),
        row("pull", 2, "RUN"),
        row("pull ../x --dry-run", 2, ".."),
        row("pull /etc --dry-run", 2, "''"),
        # the library reads HF_HUB_OFFLINE once: another test of this process may have loaded it
        row("pull 146m14b400m", 1, "HF_HUB_OFFLINE", "does not answer"),
        row("pull 146m14b400m --what", 2, "--what"),
        row("pull 146m14b400m --what checkpoint no-such", 2, "no-such"),
        row(f"push {_LOCAL} --private", 2, "--create"),
        row("push 500k500k100k --cluster local", 2, "DIR"),
        row("push 500k500k100k absent --cluster local", 1, "absent is not a folder"),
        row("push 500k500k100k fifo --cluster local", 1, "fifo is not a folder"),
        row("sync 500k500k100k absent --cluster local", 1, "absent is not a folder"),
    ),
)
