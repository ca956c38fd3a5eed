"""Cluster, image and training profiles: registry/clusters/*.yml, images.yml, training.yml as frozen records.

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

REGISTRY = Path(__file__).resolve().parents[3] / "registry"

Vendor = Literal["amd", "nvidia", "cpu"]
Objective = Literal["causal", "ul2"]
_DURATION = re.compile(r"(?:(?P<days>[0-9]+)-)?(?P<hours>[0-9]{1,3}):(?P<minutes>[0-5][0-9]):(?P<seconds>[0-5][0-9])")


def seconds(duration: str) -> int:
    """Seconds of a Slurm time limit, `2-00:00:00` or `03:00:00`; raises ValueError on any other form."""
    match = _DURATION.fullmatch(duration)
    if not match:
        raise ValueError(f"{duration!r} is not a time; write D-HH:MM:SS or HH:MM:SS")
    days, hours, minutes, secs = (int(match[part] or 0) for part in ("days", "hours", "minutes", "seconds"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + secs


@dataclass(frozen=True)
class Variable:
    """An environment variable of a job and when it is set."""

    name: str
    value: str
    source: str
    when: Literal["always", "multi-node", "large-scale"] = "always"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.name):
            raise ValueError(f"{self.name!r} is not the name of an environment variable")
        if not re.fullmatch(r"[A-Za-z0-9_./:,=^@%+$ -]*", self.value):
            raise ValueError(f"{self.value!r} holds a character that no setting of ours needs")


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
    runtime_versions: dict[str, str] = field(default_factory=dict)  # product → the least version that works
    slingshot: bool = False
    all_reduce_gb_s: float | None = None  # bus bandwidth below which something is wrong; None: not known
    note: str = ""

    def __post_init__(self) -> None:
        if self.time is not None:
            seconds(self.time)
        if self.partition is not None and self.partition not in (self.partitions or {}):
            raise ValueError(f"partition {self.partition!r} is not among its partitions")


@dataclass(frozen=True)
class Base:
    """What an image is built from: a registry's image by its tag, or an image file that is there on the machine."""

    bootstrap: Literal["docker", "localimage"]
    name: str
    source: str
    checked: datetime.date
    digest: str | None = None  # None: not built from yet; tools/build_image.py fills it in


@dataclass(frozen=True)
class Image:
    """A container image: what it is made of and what a job that runs in it has to set."""

    title: str
    vendor: Vendor
    file: str
    verb: Literal["run", "exec"]
    trainers_folder: str
    source: str
    checked: datetime.date
    squashfs: str | None = None  # the same image as enroot and pyxis read it
    python: str | None = None  # of its base; what its requirements are pinned for
    requirements: tuple[str, ...] = ()  # containers/requirements/NAME.txt
    bases: tuple[Base, ...] = ()  # the first that this machine has, else the first that is pulled
    digest: str | None = None  # of the file; None: not built yet
    options: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    module_paths: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    numa_binding: bool = False
    environment: tuple[Variable, ...] = ()
    rank_environment: tuple[Variable, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class BatchSize:
    """The global batch of models below a size; without `below_parameters`, of all larger ones."""

    sequences: int
    below_parameters: int | None = None


@dataclass(frozen=True)
class RegimeData:
    """What is trained on unless the name says otherwise."""

    corpus: str
    tokenizer: str
    sequence_length: int
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class RegimeBatch:
    """Sequences per step by model size, and the largest micro-batch worth trying."""

    sizes: tuple[BatchSize, ...]
    largest_micro_batch: int
    least_sequences_per_gpu: int  # how far a step is spread when the number of nodes is left open
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class RegimeOptimizer:
    """Learning rate, schedule, Adam, regularisation, precision."""

    lr: float
    min_lr: float
    lr_decay_style: str
    warmup_fraction: float
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    weight_decay: float
    clip_grad: float
    dropout: float
    seed: int
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class RegimeCadence:
    """Steps between log lines, validations and checkpoints; batches per validation."""

    log_interval: int
    eval_interval: int
    eval_iters: int
    saves_per_run: int
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class Regime:
    """A family of training defaults; each of its numbers can be overridden."""

    data: RegimeData
    batch: RegimeBatch
    optimizer: RegimeOptimizer
    cadence: RegimeCadence


@dataclass(frozen=True)
class _Regimes:
    regimes: dict[str, Regime]


@dataclass(frozen=True)
class _Images:
    images: dict[str, Image]


def cluster_names(registry: Path = REGISTRY) -> list[str]:
    """The clusters that have a profile."""
    return sorted(path.stem for path in (registry / "clusters").glob("*.yml"))


@functools.cache
def cluster(name: str, registry: Path = REGISTRY) -> Cluster:
    """A cluster's profile; raises UnknownNameError with the nearest names."""
    if name not in cluster_names(registry):
        raise UnknownNameError("cluster", name, cluster_names(registry))
    return strict_yaml.load(registry / "clusters" / f"{name}.yml", Cluster)


@functools.cache
def images(registry: Path = REGISTRY) -> dict[str, Image]:
    """The images by name."""
    return strict_yaml.load(registry / "images.yml", _Images).images


@functools.cache
def regimes(registry: Path = REGISTRY) -> dict[str, Regime]:
    """The families of training defaults by name."""
    return strict_yaml.load(registry / "training.yml", _Regimes).regimes
