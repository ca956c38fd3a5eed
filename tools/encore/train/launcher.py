"""Which of the processes of a run this one is, as its launcher says; no torch here.

torchrun sets RANK, WORLD_SIZE and LOCAL_RANK, and so do the job scripts for tasks that Slurm
starts. Without them a process is alone.
"""

import argparse
import os
from dataclasses import dataclass

from encore import human
from encore.errors import UsageError, shortened


@dataclass(frozen=True)
class ProcessPlace:
    """A process: its rank among `size`, and its rank on its node."""

    rank: int
    size: int
    local_rank: int


def place() -> ProcessPlace:
    """This process's place. Raises UsageError for variables that cannot be one."""
    size = _whole("WORLD_SIZE", 1)
    rank = _whole("RANK", 0)
    local_rank = _whole("LOCAL_RANK", 0)
    if not 0 <= rank < size:
        raise UsageError(
            f"RANK {rank} is none of WORLD_SIZE {size} processes",
            "start with torchrun, or unset RANK and WORLD_SIZE",
        )
    if local_rank < 0:
        raise UsageError(f"LOCAL_RANK {local_rank} is below zero", "start with torchrun")
    return ProcessPlace(rank, size, local_rank)


def check_rendezvous() -> None:
    """Raise UsageError where nothing says at which address the processes meet."""
    port = _whole("MASTER_PORT", 0)
    if not os.environ.get("MASTER_ADDR") or not 0 < port < 2**16:
        raise UsageError(
            "WORLD_SIZE says that there are other processes, MASTER_ADDR and MASTER_PORT do not"
            " say where to meet them",
            "start with torchrun, or unset RANK and WORLD_SIZE",
        )


def _whole(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    try:
        return human.integer(text)
    except argparse.ArgumentTypeError:
        raise UsageError(
            f"{variable}={shortened(text)!r} is not a whole number",
            f"start with torchrun, or unset {variable}",
        ) from None
