"""Slurm's commands from outside a job: query, submit, wait. They are never run through a shell."""

import re
import shutil
import subprocess
from dataclasses import dataclass

from encore.errors import EncoreError

_QUERY_TIMEOUT_S = 30


class SlurmError(EncoreError):
    """Slurm refused a request, did not answer, or is not installed."""


@dataclass(frozen=True)
class PartitionState:
    """A partition as sinfo reports it."""

    name: str
    available: bool
    max_time: str
    nodes: int


def ask(
    *command: str, script: str | None = None, timeout_s: float | None = _QUERY_TIMEOUT_S
) -> str:
    """Run one of Slurm's commands, `script` on its stdin; return its stdout followed by its stderr.

    Raises SlurmError, with the command's last line, if it is missing, fails or does not answer.
    """
    program = command[0]
    if shutil.which(program) is None:
        raise SlurmError(
            f"{program} is not on this machine", "run this on a login node of the cluster"
        )
    try:
        result = subprocess.run(
            command, input=script, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"{program} did not answer within {timeout_s:g} s",
            "the controller may be down: see `scontrol ping`, then run this again",
        ) from None
    if result.returncode != 0:
        lines = (result.stderr.strip() or result.stdout.strip()).splitlines()
        reason = lines[-1] if lines else f"exit code {result.returncode}"
        raise SlurmError(f"{program}: {reason}")
    return result.stdout + result.stderr


def partitions() -> dict[str, PartitionState]:
    """The cluster's partitions by name."""
    states: dict[str, PartitionState] = {}
    for row in ask("sinfo", "--noheader", "--format=%R|%a|%l|%D").split():
        name, state, max_time, nodes = row.split("|")
        total = int(nodes)
        # sinfo prints a row for each state that nodes of the partition are in.
        if name in states:
            total += states[name].nodes
        states[name] = PartitionState(name, state == "up", max_time, total)
    return states


def accounts(user: str) -> set[str] | None:
    """The accounts that `user` may charge; None where the cluster keeps no accounting."""
    # Without slurmdbd, sacctmgr fails; a job then needs no account either.
    query = ("sacctmgr", "--noheader", "--parsable2", "show", "assoc")
    try:
        return set(ask(*query, f"user={user}", "format=account").split())
    except SlurmError:
        return None


def qos_names(user: str, account: str) -> set[str] | None:
    """The qualities of service that `user` may ask for under `account`; None without accounting."""
    query = ("sacctmgr", "--noheader", "--parsable2", "show", "assoc")
    try:
        answer = ask(*query, f"user={user}", f"account={account}", "format=qos")
    except SlurmError:
        return None
    return set(answer.replace(",", " ").split())


def test_only(script: str) -> str:
    """The last line of `sbatch --test-only`: when and where the script would start.

    Raises SlurmError if Slurm would refuse it.
    """
    return ask("sbatch", "--test-only", script=script).strip().splitlines()[-1]


def run_job(script: str, timeout_s: float) -> int:
    """Submit a script, wait until its job ends, and return the job's id.

    The job's exit code is ignored: its log says more. Raises SlurmError if Slurm refuses the
    script, or if the job has not ended in `timeout_s`; it is cancelled then.
    """
    with subprocess.Popen(
        ["sbatch", "--parsable", "--wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as sbatch:
        try:
            output, errors = sbatch.communicate(script, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            # Killing the waiting sbatch leaves its job in the queue: it has to be cancelled by id.
            sbatch.kill()
            job = _job_id(sbatch.communicate()[0])
            if job is not None:
                ask("scancel", str(job))
            raise SlurmError(
                f"job {job} did not end within {timeout_s:g} s and was cancelled",
                "retry later, or raise --wait",
            ) from None
    job = _job_id(output)
    if job is None:
        lines = errors.strip().splitlines() or ["no message"]
        raise SlurmError(f"sbatch: {lines[-1]}")
    return job


def _job_id(output: str) -> int | None:
    # Where several clusters share a Slurm, --parsable prints "ID;CLUSTER".
    match = re.match(r"([0-9]+)", output)
    return int(match[1]) if match else None
