"""The machine that the cluster tests run on: its ordinary user, its playbook, the Slurm that this
brings up.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNDER_CI = os.environ.get("CI") == "true"
# the system's: an ordinary user may not be able to reach the one that runs the tests
PYTHON = "/usr/bin/python3"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Done = subprocess.CompletedProcess[str]


def runs_as_root() -> bool:
    """Whether these tests may change the machine."""
    return os.geteuid() == 0


def not_run(why: str) -> NoReturn:
    """Say that a test could not run: a failure under CI, elsewhere a line in the report."""
    if UNDER_CI:
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@dataclass(frozen=True)
class User:
    """Whoever submits jobs."""

    name: str
    home: Path

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        text: str | None = None,
        **variables: str,
    ) -> Done:
        """Run a command under this name with a bare environment and `variables`; `text` is its
        standard input.
        """
        environment = {
            "HOME": str(self.home),
            "USER": self.name,
            "PATH": _SYSTEM_PATH,
            "LANG": "C.UTF-8",
        }
        environment |= {
            key: value for key, value in os.environ.items() if key.startswith("PIP_")
        } | variables
        switch = ["runuser", "--user", self.name, "--"] if runs_as_root() else []
        return subprocess.run(
            [*switch, *map(str, command)],
            cwd=cwd or self.home,
            env=environment,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    def own(self, folder: Path) -> Path:
        """Make a folder, and all that is in it, the user's."""
        folder.mkdir(parents=True, exist_ok=True)
        if runs_as_root():
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, self.name, self.name) if not path.is_symlink() else None
        return folder


@dataclass(frozen=True)
class Play:
    """What a playbook did and said."""

    returncode: int
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something."""
        match = re.search(r"(?m)^localhost\s.*\bchanged=(\d+)", self.output)
        assert match, self.output[-3000:]
        return int(match[1])

    @property
    def words(self) -> str:
        """What it said, without its line breaks and doubled quotes."""
        return " ".join(self.output.replace("''", "'").split())

    def ok(self) -> "Play":
        """This, when nothing failed."""
        assert self.returncode == 0, self.output[-4000:]
        return self

    def refusal(self) -> str:
        """What it failed with; it has to have failed before it changed anything."""
        assert self.returncode != 0 and self.changed == 0, self.output[-3000:]
        return self.words


def options(arguments: Sequence[str], variables: dict[str, Any]) -> list[str]:
    """A playbook's options; as JSON its variables keep their types."""
    return [*arguments, "--extra-vars", json.dumps(variables)]


def play_local(*arguments: str, **variables: Any) -> Play:
    """Apply setup_local.yml to this machine, as whoever runs the tests."""
    programs = Path(sys.executable).parent
    done = subprocess.run(
        [
            programs / "ansible-playbook",
            "playbooks/setup_local.yml",
            *options(arguments, variables),
        ],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}:{_SYSTEM_PATH}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Play(done.returncode, done.stdout + done.stderr)


@dataclass(frozen=True)
class LocalSlurm:
    """The Slurm of two virtual nodes.

    `user` may charge `account`; `base` is an image to build others from.
    """

    user: User
    account: str = "project_465000000"
    cluster: str = "local-slurm"
    base: Path = Path("/var/lib/encore-local/base.sif")


def slurm_is_there() -> bool:
    """Whether a Slurm that setup_local.yml made answers."""
    try:
        ours = "playbooks/setup_local.yml" in Path("/etc/slurm/slurm.conf").read_text(
            encoding="utf-8"
        )
    except OSError:
        return False
    return (
        ours
        and subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode == 0
    )
