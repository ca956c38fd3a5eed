"""registry/clusters/*.yml: the machines that jobs are rendered for.

A cluster owns what its scheduler, nodes and fabric ask for; an image owns what depends on the software inside it
(network plugin, GPU-direct level, bind mounts, `run` or `exec`). Each block of facts carries its source.
"""

import datetime
import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encore.errors import UnknownNameError
from encore.registry import strict_yaml
from encore.registry.folder import FOLDER, Variable

_DURATION = re.compile(
    r"(?:(?P<days>[0-9]+)-)?(?P<hours>[0-9]{1,3}):(?P<minutes>[0-5][0-9]):(?P<seconds>[0-5][0-9])"
)


def seconds(duration: str) -> int:
    """Seconds of a Slurm time limit, `2-00:00:00` or `03:00:00`; raises ValueError on any other form."""
    match = _DURATION.fullmatch(duration)
    if not match:
        raise ValueError(f"{duration!r} is not a time; write D-HH:MM:SS or HH:MM:SS")
    days, hours, minutes, secs = (
        int(match[part] or 0) for part in ("days", "hours", "minutes", "seconds")
    )
    return ((days * 24 + hours) * 60 + minutes) * 60 + secs


@dataclass(frozen=True)
class Node:
    """One compute node as a job sees it."""

    gpus: int
    gres: str  # Slurm's name for them, "gpu:mi250"
    cores: int
    memory_gib: int | None  # None: ask for all that the node has
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Partition:
    """A partition's limits; `exclusive` when Slurm gives whole nodes only."""

    max_time: str
    exclusive: bool
    source: str
    checked: datetime.date
    max_nodes: int | None = None

    def __post_init__(self) -> None:
        seconds(self.max_time)


@dataclass(frozen=True)
class Billing:
    """The site's unit: GPU-hours count `units_per_gpu_hour` each, by whole nodes where the partition is exclusive."""

    unit: str
    units_per_gpu_hour: float
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Launch:
    """How ranks start: a task per GPU (bound by core masks on full nodes) or torchrun, one task per node."""

    mode: Literal["tasks", "torchrun", "single"]
    cpus_per_task: int
    source: str
    checked: datetime.date
    cpu_bind_masks: tuple[str, ...] = ()
    srun_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Speed:
    """What a run reaches: a share of the accelerator's peak (MFU), or FLOP/s per device where no peak is known."""

    source: str
    checked: datetime.date
    mfu: float | None = None
    sustained_flops: float | None = None

    def __post_init__(self) -> None:
        if (self.mfu is None) == (self.sustained_flops is None):
            raise ValueError("state either mfu or sustained_flops")


@dataclass(frozen=True)
class Margins:
    """Seconds of a job that do not train: container and program start, and the save before the limit."""

    startup_s: int
    save_s: int
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Cluster:
    """A machine that jobs are rendered for."""

    title: str
    source: str
    checked: datetime.date
    scheduler: Literal["slurm", "none"]
    accelerator: str
    trainer: str
    runtime: Literal["singularity", "apptainer", "pyxis", "none"]
    node: Node
    launch: Launch
    speed: Speed
    margins: Margins
    workspace: str
    time: str | None = None  # None: a job has no limit
    image: str | None = None
    slurm_cluster_name: str | None = None
    account_required: bool = False
    partition: str | None = None
    partitions: dict[str, Partition] | None = None
    billing: Billing | None = None
    environment: tuple[Variable, ...] = ()
    rank_environment: tuple[Variable, ...] = ()
    sbatch_options: tuple[str, ...] = ()
    runtime_versions: dict[str, str] = field(
        default_factory=dict
    )  # product → the least version that works
    slingshot: bool = False
    all_reduce_gb_s: float | None = (
        None  # bus bandwidth below which something is wrong; None: not known
    )
    note: str = ""

    def __post_init__(self) -> None:
        if self.time is not None:
            seconds(self.time)
        if self.partition is not None and self.partition not in (self.partitions or {}):
            raise ValueError(f"partition {self.partition!r} is not among its partitions")


def cluster_names(folder: Path = FOLDER) -> list[str]:
    """The clusters that have a profile."""
    return sorted(path.stem for path in (folder / "clusters").glob("*.yml"))


@functools.cache
def load_cluster(name: str, folder: Path = FOLDER) -> Cluster:
    """A cluster's profile; raises UnknownNameError with the nearest names."""
    if name not in cluster_names(folder):
        raise UnknownNameError("cluster", name, cluster_names(folder))
    return strict_yaml.load(folder / "clusters" / f"{name}.yml", Cluster)
