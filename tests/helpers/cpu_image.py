"""The CPU image that tests run in: built by the command itself as an ordinary user, kept until its
parts change.

Needs what the fixture local_slurm stands for: Apptainer, a user without rights, a base image.
"""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

from helpers.local_machine import runs_as_root

ROOT = Path(__file__).resolve().parents[2]
BASE = Path("/var/lib/encore-local/base.sif")
USER = "encore"
# in a place that this user reaches, which a checkout in root's home is not
PLACE = Path("/var/tmp/encore-tests")
PARTS = ("LICENSE", "containers", "registry", "templates", "tools")


def command(*words: object) -> list[str]:
    """The words as a command of the ordinary user."""
    return [*(["runuser", "-u", USER, "--"] if runs_as_root() else []), *map(str, words)]


def run(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run as the ordinary user, in a folder of that user's."""
    return subprocess.run(
        command(*words), **{"cwd": PLACE, "capture_output": True, "text": True} | options
    )


def python() -> Path:
    """A Python that the ordinary user may run, with what the command needs."""
    program = PLACE / "python" / "bin" / "python"
    if not program.exists():
        subprocess.run(["/usr/bin/python3", "-m", "venv", program.parents[1]], check=True)
        needs = ["PyYAML>=6,<7", "Jinja2>=3.1,<4"]
        subprocess.run([program, "-m", "pip", "install", "--quiet", *needs], check=True)
    return program


def kit() -> Path:
    """A copy of what images are made of, named by its content."""
    listed = [
        "git",
        "-C",
        ROOT,
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        *PARTS,
    ]
    names = sorted(
        set(subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines())
    )
    content = hashlib.sha256()
    for name in (name for name in names if (ROOT / name).is_file()):
        content.update(f"{name}\0".encode() + (ROOT / name).read_bytes())
    folder = PLACE / f"kit-{content.hexdigest()[:12]}"
    if not folder.exists():
        for name in (name for name in names if (ROOT / name).is_file()):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def place() -> None:
    """Make the folder, open to the ordinary user."""
    PLACE.mkdir(mode=0o755, exist_ok=True)
    images = PLACE / "images"
    if not images.exists():
        images.mkdir()
        if runs_as_root():
            shutil.chown(images, USER)


def build_command(*options: str) -> list[str]:
    """tools/build_image.py cpu from the local base."""
    program = kit() / "tools" / "build_image.py"
    given = ["--build-arg", f"base={BASE}", "--out", PLACE / "images", *options]
    return command(python(), program, "cpu", *given)


def image() -> Path:
    """The image of the checkout as it is now; builds it when there is none.

    Fails the test when that fails.
    """
    place()
    with open(PLACE / "lock", "w") as lock:
        # another test run may be building the same one: wait for it
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _built()


def _built() -> Path:
    tag = kit().name.removeprefix("kit-")
    path = PLACE / "images" / f"encore-cpu-{tag}.sif"
    if not path.exists():
        for older in (*PLACE.glob("images/encore-cpu-*"), *PLACE.glob("kit-*")):
            if tag not in older.name:
                shutil.rmtree(older) if older.is_dir() else older.unlink()
        done = subprocess.run(
            build_command("--tag", tag), cwd=PLACE, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-4000:]
    return path
