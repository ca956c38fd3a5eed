"""A run's plan: every resolved number, path and profile, and the request that it answers.

`resolve` makes a plan, `report` shows it, `encore.jobs.render` prints it as a job script. No number
is computed later.
"""

import shlex
from dataclasses import dataclass, field
from typing import Literal

from encore.model.config import ModelConfig
from encore.plan import run_data, run_name, sizing
from encore.plan.overrides import Overrides
from encore.plan.run_paths import RunPaths
from encore.registry import clusters, models
from encore.registry.corpora import Corpus
from encore.registry.folder import Objective
from encore.registry.images import Image
from encore.registry.regimes import Cadence, Optimizer
from encore.registry.setting import setting
from encore.registry.tokenizers import TokenizerFacts
from encore.registry.trainers import Pin, Trainer
from encore.registry.variables import Variable
from encore.tokens import data_paths

_CLUSTER_FILE = "registry/clusters/{cluster}.yml"


@dataclass(frozen=True)
class Request:
    """What the user asked for; None leaves a choice to the registry."""

    name: str
    cluster: str
    nodes: int | None = None
    time: str | None = None
    account: str | None = None
    objective: Objective = "causal"
    trainer: str | None = None
    workspace: str | None = None
    as_released: bool = False
    choice: run_name.Choice = field(default_factory=run_name.Choice)
    settings: Overrides = field(default_factory=Overrides)

    def as_command(self) -> str:
        """The command line that renders this request."""
        options = {
            "--cluster": self.cluster,
            "--nodes": self.nodes,
            "--time": self.time,
            "--account": self.account,
            "--objective": None if self.objective == "causal" else self.objective,
            "--trainer": self.trainer,
            "--workspace": self.workspace,
            "--params": self.choice.params,
            "--tokens": self.choice.tokens,
            "--unique": self.choice.unique,
        }
        # What the user's configuration adds stays out, so that the command fits other users too.
        words = [self.name]
        for option, value in options.items():
            if value is not None:
                words += [option, str(value)]
        if self.as_released:
            words.append("--as-released")
        if self.settings.values:
            words += ["--set", *self.settings.as_assignments()]
        return f"tools/render_sbatch.py {shlex.join(words)}"


@dataclass(frozen=True)
class Training:
    """How much is trained, in numbers that follow from the name, the model and the cadence.

    A step is one global batch; the schedules of learning rate and warm-up count samples.
    """

    sequence_length: int = field(
        metadata=setting("of one sample", unit="tokens", least=1, most=1e6)
    )
    global_batch_size: int = field(
        metadata=setting(
            "samples per step",
            unit="samples",
            origin="registry/training.yml, regime {regime}, by model size",
            least=1,
            most=1e5,
        )
    )
    train_samples: int = field(
        metadata=setting(
            "of the whole run",
            unit="samples",
            origin="derived: tokens of the name ÷ sequence_length",
            least=1,
            most=1e12,
        )
    )
    steps: int
    warmup_samples: int
    save_interval: int = field(
        metadata=setting(
            "between checkpoints",
            unit="steps",
            origin="derived: steps ÷ saves_per_run",
            least=1,
            most=1e9,
        )
    )

    @property
    def tokens(self) -> int:
        """Tokens that the steps train on: whole batches only."""
        return self.steps * self.global_batch_size * self.sequence_length


@dataclass(frozen=True)
class ClusterUse:
    """How a run uses its cluster: the profile's values, unless the user overrides them."""

    partition: str | None = field(
        metadata=setting("Slurm partition that jobs go to", origin=_CLUSTER_FILE)
    )
    qos: str | None = field(
        metadata=setting("Slurm quality of service that jobs run under", origin=_CLUSTER_FILE)
    )
    launch: Literal["tasks", "torchrun", "single"] = field(
        metadata=setting(
            "how ranks start: a task each, by torchrun, or one alone", origin=_CLUSTER_FILE
        )
    )
    accelerator: str = field(metadata=setting("kind of device", origin=_CLUSTER_FILE))
    gpus_per_node: int = field(
        metadata=setting(
            "used of each node", unit="devices", origin=_CLUSTER_FILE, least=1, most=1000
        )
    )
    cores_per_node: int = field(
        metadata=setting("used of each node", unit="cores", origin=_CLUSTER_FILE, least=1, most=1e5)
    )
    image: str | None = field(metadata=setting("container image", origin=_CLUSTER_FILE))
    mfu: float | None = field(
        metadata=setting(
            "share of the peak FLOP/s that predictions assume",
            origin=_CLUSTER_FILE,
            least=0.001,
            most=1,
        )
    )
    large_scale: bool = field(
        metadata=setting("also set the variables meant for very large jobs", origin="default")
    )


@dataclass(frozen=True)
class JobResources:
    """What one job asks Slurm for; exit_minutes None: the job has no time limit."""

    nodes: int
    gpus_per_node: int
    tasks_per_node: int
    cpus_per_task: int
    launch: str
    whole_nodes: bool
    memory_per_node_gib: int | None
    partition: str | None
    qos: str | None
    account: str | None
    time: str | None
    exit_minutes: int | None


@dataclass(frozen=True)
class Cost:
    """What the run costs; hours are predictions. billing_units None: the site bills no unit."""

    flops_6nd: float
    flops_exact: float
    hours: float
    jobs: int
    gpu_hours: float
    billing_unit: str | None
    billing_units: float | None
    checkpoint_bytes: int
    checkpoints_kept_bytes: int
    memory_per_device_bytes: int
    memory_fits: bool


@dataclass(frozen=True)
class Released:
    """What the released run of this name trained; it may differ from what the name says."""

    global_step: int
    global_batch_size: int
    train_samples: int
    tokens: int


@dataclass(frozen=True)
class Software:
    """The trainer at its commit, and the image that holds it; None without containers."""

    trainer: Trainer
    pin: Pin
    objective: Objective
    image_name: str | None
    image: Image | None


@dataclass(frozen=True)
class Data:
    """What is trained and validated on; groups name prefixes relative to the data folder."""

    corpus: Corpus
    tokenizer: TokenizerFacts
    train: data_paths.Group
    valid: tuple[data_paths.Group, ...]
    train_file: str
    valid_file: str

    @property
    def prefixes(self) -> list[str]:
        """Every .bin/.idx prefix that is read, each once."""
        prefixes = []
        for group in (self.train, *self.valid):
            prefixes += [part.prefix for part in group.parts]
        return list(dict.fromkeys(prefixes))


@dataclass(frozen=True)
class Plan:
    """Everything about a run, resolved."""

    name: str
    # the command line that renders the job script
    command: str
    cluster_name: str
    # with the user's overrides applied
    cluster: clusters.Cluster
    software: Software
    shape: models.ModelShape
    # its vocabulary padded for the layout's tensor-parallel degree
    model: ModelConfig
    layout: sizing.Layout
    training: Training
    optimizer: Optimizer
    cadence: Cadence
    data: Data
    cluster_use: ClusterUse
    job: JobResources
    cost: Cost
    # of the model with its vocabulary padded for one device, so that no layout changes the number
    parameters: int
    tokens: int
    unique_tokens: int
    paths: RunPaths
    environment: tuple[Variable, ...]
    # expanded in each rank's own shell, so that values may name the rank
    rank_environment: tuple[Variable, ...]
    released: Released | None
    warnings: tuple[str, ...] = ()

    @property
    def epochs(self) -> float:
        """How often each unique token is seen."""
        return self.tokens / self.unique_tokens

    @property
    def gpus(self) -> int:
        """Devices of all nodes."""
        return self.job.nodes * self.job.gpus_per_node

    @property
    def data_paths(self) -> dict[str, str]:
        """Data-path file → its one line, as Megatron reads it.

        Empty for a trainer that accepts prefixes on its command line instead.
        """
        if self.software.trainer.data != "weighted-split-paths":
            return {}
        return {
            self.data.train_file: run_data.line((self.data.train,), self.paths.data),
            self.data.valid_file: run_data.line(self.data.valid, self.paths.data),
        }
