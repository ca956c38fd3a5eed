"""Bad inputs of tools/build_image.py."""

import json
from pathlib import Path

from helpers.bad_inputs import (
    CHOICE,
    ESCAPE,
    NAME,
    OUTPUT,
    Kind,
    Table,
    row,
    spoiled,
)
from helpers.sif_file import write_sif
from hostile import request


def prepare(folder: Path) -> None:
    """A runtime that does nothing, images that are none, and the user's configurations."""
    request.prepare(folder)
    (folder / "bin").mkdir()
    program = folder / "bin" / "apptainer"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo apptainer version 1.4.5\nexit 1\n')
    program.chmod(0o755)
    write_sif(folder / "image.sif")
    (folder / "half.sif").write_bytes((folder / "image.sif").read_bytes()[:100])
    write_sif(folder / "record.sif")
    for kind, data in spoiled(b"").items():
        write_sif(folder / f"record-{kind}.sif")
        (folder / f"record-{kind}.json").write_bytes(data)
    (folder / "record.json").write_text(json.dumps({"no": "record"}))


TABLE = Table(
    tool="build_image",
    environment={"PATH": "bin:/usr/bin:/bin"},
    prepare=prepare,
    lines={"": "cpu --dry-run"},
    kinds={
        "what": CHOICE,
        "file": Kind({}),
        "--out": OUTPUT.but("too long", "too deep", "loop", "below a file", "nowhere"),
        "--tag": NAME.also(2, "a b", "a/b", "../x", "-x", "a\nb", ESCAPE, "é", "a" * 300, "٣"),
        "--build-arg": NAME.also(
            2,
            "base",
            "=x",
        ),
        "--runtime": CHOICE,
    },
    rows=(
        row("", 2, "cpu"),
        row("inspect", 2, "IMAGE"),
        row("cpu image.sif", 2, "image.sif"),
        *(
            row(f"inspect {name}", 1, name)
            for name in ("missing", "folder", "file", "empty-file", "noise", "pointer", "half.sif")
        ),
        row("inspect ''", 2, "empty"),
        row("inspect loop", 1, "loop"),
        row("inspect dangling", 1, "dangling"),
        row("inspect '~nosuchuser/x'", 2, "nosuchuser"),
        row("inspect image.sif", 1, "image.sif"),
        row("cpu --dry-run --build-arg no_such=1", 2, "no_such"),
        *request.config_rows("cpu --dry-run")[3:10],
    ),
)
