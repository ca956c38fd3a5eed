"""A run's plan: what was asked for and every resolved number, path and profile. `planner` makes it.

`render` prints it, `--dry-run` shows it; no number is computed later.
"""

import shlex
from dataclasses import dataclass, field

from encore.model.config import ModelConfig
from encore.plan import run_data, run_name, sizing
from encore.plan.run_paths import RunPaths
from encore.plan.settings import Settings, as_assignments
from encore.registry import clusters, models
from encore.registry.corpora import Corpus
from encore.registry.folder import Objective, Variable
from encore.registry.images import Image
from encore.registry.tokenizers import TokenizerFacts
from encore.registry.trainers import Pin, Trainer
from encore.tokens import data_paths


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
    settings: Settings = field(default_factory=Settings)

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
        words = [
            self.name,
            *(str(word) for pair in options.items() if pair[1] is not None for word in pair),
        ]
        words += ["--as-released"] * self.as_released
        assignments = as_assignments(self.settings)
        words += ["--set", *assignments] if assignments else []
        return f"tools/render_sbatch.py {shlex.join(words)}"


@dataclass(frozen=True)
class Training:
    """The optimisation: a step is one global batch; the schedules count samples."""

    sequence_length: int
    global_batch_size: int
    train_samples: int
    steps: int
    lr: float
    min_lr: float
    lr_decay_style: str
    warmup_samples: int
    adam_beta1: float
    adam_beta2: float
    adam_eps: float
    weight_decay: float
    clip_grad: float
    dropout: float
    seed: int
    log_interval: int
    eval_interval: int
    eval_iters: int
    save_interval: int

    @property
    def tokens(self) -> int:
        """What the steps really train on: whole batches only."""
        return self.steps * self.global_batch_size * self.sequence_length


@dataclass(frozen=True)
class JobResources:
    """What Slurm is asked for, per job; exit_minutes None: the job has no limit."""

    nodes: int
    gpus_per_node: int
    tasks_per_node: int
    cpus_per_task: int
    launch: str
    whole_nodes: bool
    memory_per_node_gib: int | None
    partition: str | None
    account: str | None
    time: str | None
    exit_minutes: int | None


@dataclass(frozen=True)
class Cost:
    """What the run takes; hours are predictions. billing_units None: the site has no unit of its own."""

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
    """What the paper's run of this name really was, where it is known."""

    global_step: int
    global_batch_size: int
    train_samples: int
    tokens: int


@dataclass(frozen=True)
class Software:
    """The trainer at its commit and the image that holds it; no image where the cluster has no containers."""

    trainer: Trainer
    pin: Pin
    objective: Objective
    image_name: str | None
    image: Image | None


@dataclass(frozen=True)
class Data:
    """What is trained and validated on; parts and groups name prefixes below the data folder."""

    corpus: Corpus
    tokenizer: TokenizerFacts
    train: data_paths.Group
    valid: tuple[data_paths.Group, ...]
    train_file: str
    valid_file: str

    @property
    def prefixes(self) -> list[str]:
        """Every .bin/.idx prefix that is read, once."""
        return list(
            dict.fromkeys(
                part.prefix for group in (self.train, *self.valid) for part in group.parts
            )
        )


@dataclass(frozen=True)
class Plan:
    """Everything about a run, resolved."""

    name: str
    command: str  # that renders its script
    cluster_name: str
    cluster: clusters.Cluster
    software: Software
    shape: models.ModelShape
    model: ModelConfig
    layout: sizing.Layout
    training: Training
    data: Data
    job: JobResources
    cost: Cost
    parameters: int
    tokens: int
    unique_tokens: int
    paths: RunPaths
    environment: tuple[Variable, ...]
    rank_environment: tuple[Variable, ...]
    released: Released | None
    warnings: tuple[str, ...] = ()

    @property
    def epochs(self) -> float:
        """How often the unique tokens are seen."""
        return self.tokens / self.unique_tokens

    @property
    def gpus(self) -> int:
        """Devices of all nodes."""
        return self.job.nodes * self.job.gpus_per_node

    @property
    def data_paths(self) -> dict[str, str]:
        """Data-path file → its one line, as Megatron reads it; empty for a trainer that takes prefixes instead."""
        if self.software.trainer.data != "weighted-split-paths":
            return {}
        return {
            self.data.train_file: run_data.line((self.data.train,), self.paths.data),
            self.data.valid_file: run_data.line(self.data.valid, self.paths.data),
        }
