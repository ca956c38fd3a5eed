"""Slurm's commands, from outside a job: ask, submit, wait. Never through a shell."""

import re
import shutil
import subprocess
from dataclasses import dataclass

from encore.errors import EncoreError

_ASK_TIMEOUT_S = 30


class SlurmError(EncoreError):
    """Slurm refused, or is not there."""


@dataclass(frozen=True)
class PartitionState:
    """A partition as sinfo tells it."""

    name: str
    available: bool
    max_time: str
    nodes: int


def ask(*command: str, script: str | None = None, timeout_s: float | None = _ASK_TIMEOUT_S) -> str:
    """The output of one of Slurm's commands, its errors appended; raises SlurmError with its last line."""
    if shutil.which(command[0]) is None:
        raise SlurmError(
            f"{command[0]} is not on this machine", "run this on a login node of the cluster"
        )
    try:
        done = subprocess.run(
            command, input=script, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"{command[0]} did not answer in {timeout_s:g} s", "the controller may be down"
        ) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [
            f"exit code {done.returncode}"
        ]
        raise SlurmError(f"{command[0]}: {said[-1]}", "see its message")
    return done.stdout + done.stderr


def partitions() -> dict[str, PartitionState]:
    """The cluster's partitions by name."""
    rows = ask("sinfo", "--noheader", "--format=%R|%a|%l|%D").split()
    found = {}
    for name, state, limit, nodes in (row.split("|") for row in rows):
        total = int(nodes) + (found[name].nodes if name in found else 0)
        found[name] = PartitionState(name, state == "up", limit, total)
    return found


def accounts(user: str) -> set[str] | None:
    """The accounts that a user may charge; None where the cluster keeps no accounting."""
    try:
        return set(
            ask(
                "sacctmgr",
                "--noheader",
                "--parsable2",
                "show",
                "assoc",
                f"user={user}",
                "format=account",
            ).split()
        )
    except SlurmError:
        return None


def test(script: str) -> str:
    """What `sbatch --test-only` says: when and where the script would start; raises SlurmError if never."""
    return ask("sbatch", "--test-only", script=script).strip().splitlines()[-1]


def run_job(script: str, timeout_s: float) -> int:
    """Submit a script and wait for the job's end; its id. Raises SlurmError if it is refused or does not end in time.

    How the job ended is not looked at: its log tells more. One that is not done in time is cancelled.
    """
    with subprocess.Popen(
        ["sbatch", "--parsable", "--wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        try:
            said, complained = waiting.communicate(script, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            waiting.kill()
            job = _job_id(waiting.communicate()[0])
            if job is not None:
                ask("scancel", str(job))
            raise SlurmError(
                f"job {job} was not done after {timeout_s:g} s and is cancelled",
                "try a quieter hour",
            ) from None
    job = _job_id(said)
    if job is None:
        last = (complained.strip().splitlines() or ["no message"])[-1]
        raise SlurmError(f"sbatch: {last}", "change what it names")
    return job


def _job_id(said: str) -> int | None:
    match = re.match(r"(\d+)", said)  # `--parsable` appends the cluster's name on some
    return int(match[1]) if match else None
