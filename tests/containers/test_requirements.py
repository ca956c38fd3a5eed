"""The pinned requirements resolve, for the Python and the platform of each image, to just what is pinned."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from encore.images.wheels import REQUIREMENTS
from helpers.local_machine import not_run


def test_compiling_them_anew_changes_nothing(tmp_path: Path) -> None:
    """uv keeps pins that still fit; one that does not exist any more, or breaks a range, comes out changed."""
    ours = shutil.copytree(REQUIREMENTS, tmp_path / "requirements")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [ours / "compile.sh"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "Request failed" in done.stderr:
        not_run(f"no package index answers: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr[-3000:]
    for pinned in REQUIREMENTS.glob("*.txt"):
        assert (ours / pinned.name).read_text() == pinned.read_text(), pinned.name


def test_a_pin_that_breaks_a_range_does_not_survive(tmp_path: Path) -> None:
    """The check above can fail: a pin outside its range is replaced."""
    ours = shutil.copytree(REQUIREMENTS, tmp_path / "requirements")
    build = ours / "build.in"
    build.write_text(build.read_text().replace("wheel", "wheel<0.40"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    compiled = "uv pip compile --quiet --generate-hashes --no-annotate --python-version 3.11 -o build.txt build.in"
    done = subprocess.run(
        compiled.split(),
        cwd=ours,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "Request failed" in done.stderr:
        not_run(f"no package index answers: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"(?m)^wheel==0\.3\d", (ours / "build.txt").read_text())
