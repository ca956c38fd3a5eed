"""Fixtures for tests that need a real Slurm: two virtual nodes shaped like LUMI's, and an ordinary
user on them.

How the Slurm comes about is in tests/conftest.py.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.local_machine import PYTHON, ROOT, LocalSlurm


@pytest.fixture
def users_folder(local_slurm: LocalSlurm, tmp_path: Path) -> Iterator[Path]:
    """A folder of the user's own that every node can read; pytest's temporary folders are closed to
    others.
    """
    folder = Path(f"/tmp/encore-tests-{os.getpid()}-{tmp_path.name}")
    yield local_slurm.user.own(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def users_kit(local_slurm: LocalSlurm) -> Iterator[Path]:
    """The kit as the ordinary user has it: a checkout of what is here, and the environment that
    Ansible runs in.
    """
    kit = Path(f"/tmp/encore-tests-{os.getpid()}-kit")
    listed = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, capture_output=True, check=True, text=True).stdout.split(
        "\0"
    ):
        if (ROOT / name).is_file():
            (kit / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, kit / name)
    local_slurm.user.own(kit)
    identity = ["-c", "user.name=encore", "-c", "user.email=encore@localhost"]
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", *identity, "commit", "--quiet", "--message=As it is"],
        [PYTHON, "-m", "venv", ".venv"],
        [".venv/bin/pip", "install", "--quiet", "--editable", ".[cluster]"],
    ):
        done = local_slurm.user.run(*command, cwd=kit)
        assert done.returncode == 0, done.stderr
    yield kit
    shutil.rmtree(kit, ignore_errors=True)
