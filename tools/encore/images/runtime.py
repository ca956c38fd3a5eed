"""The container runtime (Apptainer or Singularity) as a subprocess.

Its output is passed on line by line, and it ends when we end: an interrupted build must leave no
process behind. spython (singularity-cli) could do neither for a chosen runtime: its client always
calls `singularity`, starts no process group, and sets neither environment nor folder of a build.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encore import kit, strict_json
from encore.errors import DataError, EncoreError

PROGRAMS = ("apptainer", "singularity")

# from SIGTERM to SIGKILL: a build unmounts and removes its root file system in between
_GRACE_S = 20

log = logging.getLogger(__name__)


def find_program(name: str = "auto") -> str:
    """The runtime of this name, or with auto the first that is installed; raises EncoreError."""
    candidates = PROGRAMS if name == "auto" else (name,)
    for candidate in candidates:
        if shutil.which(candidate):
            return candidate
    raise EncoreError(
        f"{' or '.join(candidates)} not found on this machine",
        "install Apptainer (on Debian or Ubuntu: playbooks/setup_local.yml) or load its module",
    )


def version(program: str) -> str:
    """What the runtime says of itself: `apptainer version 1.4.5`."""
    process = subprocess.run([program, "--version"], capture_output=True, text=True)
    return process.stdout.strip()


def run(command: Sequence[str], scratch: Path, failure: str) -> None:
    """Run from the repository's root, which %files is relative to; log the output.

    scratch: where a build unpacks its root file system, unless the user's environment says where.
    Raises EncoreError, `failure` with the last line of output, for an exit code other than 0.
    """
    environment = dict(os.environ)
    for name in ("APPTAINER_TMPDIR", "SINGULARITY_TMPDIR"):
        environment.setdefault(name, str(scratch))
    process = subprocess.Popen(
        command,
        cwd=kit.ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # a process group of its own, so that _terminate reaches all that the runtime starts
        start_new_session=True,
    )
    assert process.stdout is not None
    last_line = ""
    try:
        for line in process.stdout:
            log.info("%s", line.rstrip())
            last_line = line.strip() or last_line
        process.wait()
    except BaseException:
        _terminate(process)
        raise
    if process.returncode:
        raise EncoreError(
            f"{failure}: {last_line}", "the output above says why; no image was written"
        )


def _terminate(process: "subprocess.Popen[str]") -> None:
    """End the process group: SIGTERM, then SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return


def read_json(command: Sequence[str], image: Path) -> dict[str, Any]:
    """The JSON that a command prints about an image; raises DataError with its last error line."""
    process = subprocess.run(command, capture_output=True, text=True)
    try:
        return dict(strict_json.parse(process.stdout))
    except (ValueError, TypeError):
        errors = process.stderr.strip().splitlines() or ["no output"]
        raise DataError(
            f"cannot read {image}: {errors[-1]}",
            "it must be an image of this kit that you may execute; try: apptainer exec IMAGE true",
        ) from None
