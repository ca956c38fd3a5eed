"""registry/clusters/*.yml: the machines that jobs are rendered for.

A cluster's profile holds what its scheduler, nodes and network need. What depends on the software
in an image (network plugin, GPU-direct level, bind mounts, `run` or `exec`) is in images.yml.
"""

import datetime
import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encore.errors import UnknownNameError
from encore.registry import strict_yaml
from encore.registry.folder import FOLDER
from encore.registry.variables import Variable

# Slurm's forms: M, M:S, H:M:S and, with days, D-H, D-H:M, D-H:M:S (man sbatch, --time).
# Eight digits of minutes are two hundred years; more overflow Slurm's own numbers.
_DURATION = re.compile(
    r"(?:(?P<days>[0-9]{1,5})-)?(?P<parts>[0-9]{1,8}(?::[0-9]{1,8}){0,2})", re.ASCII
)
_DAY_S = 86400


def seconds(duration: str) -> int:
    """Seconds of a time limit in any of Slurm's forms, `30` (minutes), `1-12` or `2-00:00:00`.

    Raises ValueError for anything else.
    """
    match = _DURATION.fullmatch(duration)
    if not match:
        raise ValueError(
            f"{duration[:40]!r} is not a time; write minutes, HH:MM:SS, D-HH or D-HH:MM:SS"
        )
    parts = [int(part) for part in match["parts"].split(":")]
    if match["days"] is None and len(parts) < 3:
        # without days, hours are stated only where seconds are
        parts.insert(0, 0)
    hours, minutes, rest = [*parts, 0, 0][:3]
    return int(match["days"] or 0) * _DAY_S + hours * 3600 + minutes * 60 + rest


def duration(seconds: int) -> str:
    """A time limit as Slurm prints it, `2-00:00:00` or `03:00:00`."""
    days, rest = divmod(seconds, _DAY_S)
    minutes, second = divmod(rest, 60)
    clock = f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
    if days:
        return f"{days}-{clock}"
    return clock


@dataclass(frozen=True)
class Node:
    """One compute node as a job sees it.

    gres: Slurm's name of the GPUs, "gpu:mi250". memory_gib: None to request all of a node's memory.
    """

    gpus: int
    gres: str
    cores: int
    memory_gib: int | None
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Partition:
    """A partition's limits; exclusive: Slurm allocates whole nodes only."""

    max_time: str
    exclusive: bool
    source: str
    checked: datetime.date
    max_nodes: int | None = None

    def __post_init__(self) -> None:
        # raises for a malformed time when the file is read, not when a job is rendered
        seconds(self.max_time)


@dataclass(frozen=True)
class Qos:
    """The limits of a quality of service, which replace those of the partition."""

    max_time: str
    max_nodes: int
    source: str
    checked: datetime.date
    min_nodes: int = 1

    def __post_init__(self) -> None:
        seconds(self.max_time)
        if not 1 <= self.min_nodes <= self.max_nodes:
            raise ValueError(f"{self.min_nodes} to {self.max_nodes} nodes are none")


@dataclass(frozen=True)
class Billing:
    """The site's billing unit; on exclusive partitions every GPU of a node is billed."""

    unit: str
    units_per_gpu_hour: float
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Launch:
    """How ranks start.

    mode: a Slurm task per GPU, bound to cores by masks on full nodes; torchrun, a task per node; or
    a single process without Slurm.
    """

    mode: Literal["tasks", "torchrun", "single"]
    cpus_per_task: int
    source: str
    checked: datetime.date
    cpu_bind_masks: tuple[str, ...] = ()
    srun_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Speed:
    """What a run reaches: a share of the accelerator's peak, or FLOP/s where no peak is known."""

    source: str
    checked: datetime.date
    mfu: float | None = None
    sustained_flops: float | None = None

    def __post_init__(self) -> None:
        # with both, an accelerator's new peak would change one estimate and not the other
        if (self.mfu is None) == (self.sustained_flops is None):
            raise ValueError("state either mfu or sustained_flops")


@dataclass(frozen=True)
class Margins:
    """Seconds of a job without training: the start, and the last save before the time limit."""

    startup_s: int
    save_s: int
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Cluster:
    """A machine that jobs are rendered for.

    time: a job's default time limit; None: no limit. runtime_versions: product → the least version
    that works. all_reduce_gb_s: bus bandwidth below which something is wrong; None: not known.
    """

    title: str
    source: str
    checked: datetime.date
    scheduler: Literal["slurm", "none"]
    accelerator: str
    trainer: str
    runtime: Literal["singularity", "apptainer", "pyxis", "none"]
    # what a plan is computed from
    node: Node
    launch: Launch
    speed: Speed
    margins: Margins
    # a job's defaults, each of which the user can override
    workspace: str
    time: str | None = None
    image: str | None = None
    # Slurm's own name of the cluster, by which a login node is recognised
    slurm_cluster_name: str | None = None
    account_required: bool = False
    partition: str | None = None
    partitions: dict[str, Partition] | None = None
    # None: the account's own default, under the partition's limits
    qos: str | None = None
    qos_limits: dict[str, Qos] | None = None
    billing: Billing | None = None
    # set by the batch script
    environment: tuple[Variable, ...] = ()
    # what doctor.py checks
    runtime_versions: dict[str, str] = field(default_factory=dict)
    slingshot: bool = False
    all_reduce_gb_s: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.time is not None:
            seconds(self.time)
        # where none is known, a profile may still name the one that jobs go to
        if self.partition is not None and self.partitions and self.partition not in self.partitions:
            raise ValueError(f"partition {self.partition!r} is not among its partitions")
        if self.qos is not None and self.qos_limits and self.qos not in self.qos_limits:
            raise ValueError(f"qos {self.qos!r} is not among its qos_limits")


def cluster_names(folder: Path = FOLDER) -> list[str]:
    """The names of all profiles."""
    return sorted(path.stem for path in (folder / "clusters").glob("*.yml"))


@functools.cache
def load_cluster(name: str, folder: Path = FOLDER) -> Cluster:
    """A cluster's profile; raises UnknownNameError."""
    names = cluster_names(folder)
    if name not in names:
        raise UnknownNameError("cluster", name, names)
    return strict_yaml.load(folder / "clusters" / f"{name}.yml", Cluster)
