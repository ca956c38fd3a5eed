"""From a request to a plan: defaults, overrides, and what follows from both."""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from encore.errors import UnknownNameError, UsageError
from encore.model.config import ModelConfig, padded_vocabulary
from encore.plan import placement, run_data, run_name, sizing, training
from encore.plan.records import Data, Plan, Request, Software, Training
from encore.plan.run_paths import RunPaths
from encore.plan.user_config import UserConfig, safe_name, safe_path
from encore.registry import clusters
from encore.registry.corpora import load_corpora
from encore.registry.images import load_images
from encore.registry.models import ModelShape, load_models
from encore.registry.paper_runs import load_runs
from encore.registry.regimes import Regime, load_regimes
from encore.registry.released import plain_name
from encore.registry.tokenizers import TokenizerFacts, load_tokenizers
from encore.registry.trainers import load_trainers
from encore.registry.variables import Variable

# From this many nodes on, a plan points to the variables that sites recommend for large jobs.
_LARGE_SCALE_NODES = 128
# Relative difference of tokens above which the released run is another run than the name says.
_RELEASED_TOLERANCE = 0.01

T = TypeVar("T")


def resolve(request: Request, config: UserConfig) -> Plan:
    """Resolve a request.

    Raises UsageError for what cannot be done, UnknownNameError with the nearest valid names.
    """
    overrides = request.settings
    site = placement.site(request.cluster, overrides, request.time)
    run = _run(request)
    shape = _shape(run)
    regime = load_regimes()[shape.regime]
    software = _software(request, site)
    data = _data(run, regime, software)

    sequence_length = overrides.get("sequence_length", regime.data.sequence_length)
    model = _model(shape, data.tokenizer, sequence_length)
    released = training.released_run(run.name, sequence_length)
    optimizer = training.optimizer(regime, run.suffix.seed, overrides)
    cadence = overrides.apply(regime.cadence)
    batch = training.default_batch(regime.batch, model.parameters)
    samples = sizing.train_samples(run.tokens, sequence_length)
    if request.as_released:
        batch, samples = training.released_batch_and_samples(run.name, released)
    run_training = training.training(batch, samples, sequence_length, optimizer, cadence, overrides)

    work = placement.Workload(
        model, data.tokenizer.vocabulary, run_training, regime.batch, software.pin, overrides
    )
    spread = placement.choose_nodes(work, site, request.nodes)
    # From here on the account is part of an #SBATCH line and of paths.
    account = request.account or config.account
    if account is not None:
        safe_name(account, "Slurm account")
    workspace = _workspace(request.workspace or config.workspace, account, site.cluster)
    plan = Plan(
        name=run.name,
        command=request.as_command(),
        cluster_name=request.cluster,
        cluster=site.cluster,
        software=software,
        shape=shape,
        model=spread.model,
        layout=spread.layout,
        training=run_training,
        optimizer=optimizer,
        cadence=cadence,
        data=data,
        cluster_use=site.use,
        job=placement.job_resources(site, spread.nodes, account),
        cost=placement.cost(work, site, spread),
        parameters=model.parameters,
        tokens=_tokens(request, run, run_training),
        unique_tokens=run.unique_tokens,
        paths=RunPaths(workspace, run.name, tuple(sorted(config.folders.items()))),
        environment=_environment(site, software, spread.nodes),
        rank_environment=software.image.rank_environment if software.image else (),
        released=released,
    )
    return dataclasses.replace(plan, warnings=tuple(_warnings(plan, request)))


def _tokens(request: Request, run: run_name.RunName, run_training: Training) -> int:
    """The tokens that the plan states: the name's, unless it trains other samples."""
    samples_of_name = sizing.train_samples(run.tokens, run_training.sequence_length)
    if request.as_released or run_training.train_samples != samples_of_name:
        return run_training.tokens
    # The name's own number, though whole batches train up to one batch less.
    return run.tokens


def _lookup(kind: str, name: str, records: Mapping[str, T]) -> T:
    if name not in records:
        raise UnknownNameError(kind, name, records)
    return records[name]


def _run(request: Request) -> run_name.RunName:
    labels = {label: record.parameters for label, record in load_models().labels.items()}
    triples = {}
    for name, paper_run in load_runs().items():
        triples[name] = (paper_run.parameters, paper_run.tokens, paper_run.unique_tokens)
    corpora = load_corpora()
    variants: set[str] = set()
    for corpus in corpora.values():
        variants.update(corpus.variants)
    vocabulary = run_name.Vocabulary(labels, triples, corpora, variants)
    return run_name.parse(plain_name(request.name), vocabulary, request.choice)


def _shape(run: run_name.RunName) -> ModelShape:
    """The shape of the known run of this name, else the one that its label stands for."""
    models = load_models()
    paper_run = load_runs().get(run.name)
    if paper_run is not None and paper_run.shape:
        return models.shapes[paper_run.shape]
    return models.shapes[models.labels[run.label].shape]


def _software(request: Request, site: placement.Site) -> Software:
    trainers = load_trainers()
    trainer = _lookup("trainer", request.trainer or site.cluster.trainer, trainers)
    pin = trainer.commits.get(request.objective)
    if pin is None:
        able = [name for name, other in trainers.items() if request.objective in other.commits]
        raise UsageError(
            f"trainer {trainer.name} has no {request.objective} objective",
            f"choose --trainer {' or '.join(able)}",
        )
    image = None
    if site.use.image is not None:
        image = _lookup("image", site.use.image, load_images())
    software = Software(trainer, pin, request.objective, site.use.image, image)
    _check_software(software, site)
    return software


def _check_software(software: Software, site: placement.Site) -> None:
    """Raise UsageError for a trainer or an image that the cluster's nodes cannot start."""
    trainer = software.trainer
    vendor = site.accelerator.vendor
    if vendor not in trainer.vendors:
        raise UsageError(
            f"trainer {trainer.name} does not run on {site.accelerator.name}",
            f"it runs on devices of: {', '.join(trainer.vendors)}",
        )
    if site.cluster.runtime == "none":
        if software.image is not None:
            raise UsageError(
                f"--set image={software.image_name}: this cluster's jobs run without a container",
                "leave it out, or choose a --cluster with containers",
            )
        if software.pin.commit is not None:
            raise UsageError(
                f"trainer {trainer.name} is in container images only, and this cluster's jobs run"
                " without one",
                "--trainer builtin, or a --cluster with containers",
            )
    elif software.image is not None and software.image.vendor != vendor:
        raise UsageError(
            f"image {software.image_name} is for devices of {software.image.vendor}, not for"
            f" {site.accelerator.name}",
            "--set image=NAME of another in registry/images.yml",
        )


def _data(run: run_name.RunName, regime: Regime, software: Software) -> Data:
    corpora = load_corpora()
    suffix = run.suffix
    spec = run_data.DataSpec(
        corpus=suffix.corpus or regime.data.corpus,
        # without a unique amount in the name, the corpus's whole file and not a subset of its size
        unique_tokens=run.unique_tokens if run.unique_label else None,
        variant=suffix.variant,
        mix=("python", 100 - suffix.corpus_share) if suffix.corpus_share else None,
    )
    train_file, valid_file = run_data.file_names(spec, corpora)
    data = Data(
        corpus=corpora[spec.corpus],
        tokenizer=load_tokenizers()[regime.data.tokenizer],
        train=run_data.train_group(spec, corpora),
        valid=run_data.valid_groups(spec, corpora),
        train_file=train_file,
        valid_file=valid_file,
    )
    _check_data(data, software)
    return data


def _check_data(data: Data, software: Software) -> None:
    """Raise UsageError for data that the trainer cannot read."""
    trainer = software.trainer
    reads_ranges = trainer.ranges and not software.pin.ignores_ranges
    for group in (data.train, *data.valid):
        for part in group.parts:
            if not reads_ranges and (part.start, part.end) != (0.0, 1.0):
                raise UsageError(
                    f"trainer {trainer.name} cannot read a range of a data set for"
                    f" {software.objective}",
                    "choose --trainer turkunlp",
                )
    if len(data.valid) > 1 and not trainer.several_validation_sets:
        raise UsageError(
            f"trainer {trainer.name} has one validation set only", "choose --trainer turkunlp"
        )


def _model(shape: ModelShape, tokenizer: TokenizerFacts, positions: int) -> ModelConfig:
    return ModelConfig(
        num_layers=shape.layers,
        hidden_size=shape.d_model,
        num_attention_heads=shape.heads,
        kv_channels=shape.kv_size,
        ffn_hidden_size=shape.ffw_size,
        max_position_embeddings=positions,
        padded_vocab_size=padded_vocabulary(tokenizer.vocabulary),
    )


def _workspace(configured: str | None, account: str | None, cluster: clusters.Cluster) -> str:
    """The option's or the configuration's folder, else the one of the cluster's profile."""
    if configured is not None:
        return safe_path(configured, "workspace")
    if account is None and "{account}" in cluster.workspace:
        # a warning says so: the job itself will need an account
        return safe_path("~/encore", "workspace")
    return safe_path(cluster.workspace.replace("{account}", account or ""), "workspace")


def _environment(site: placement.Site, software: Software, nodes: int) -> tuple[Variable, ...]:
    """The variables of cluster and image whose conditions hold."""
    holds = {
        "always": True,
        "multi-node": nodes > 1,
        "large-scale": site.use.large_scale,
    }
    variables = site.cluster.environment
    if software.image is not None:
        variables += software.image.environment
    return tuple(variable for variable in variables if holds[variable.when])


def _warnings(plan: Plan, request: Request) -> list[str]:
    warnings = []
    if plan.software.pin.warning:
        warnings.append(plan.software.pin.warning)
    if plan.cluster.account_required and plan.job.account is None:
        warnings.append(
            f"no account: {plan.cluster_name} refuses a job without one, and the workspace is"
            f" {plan.paths.workspace}; give --account or set it in the configuration"
        )
    if not plan.cost.memory_fits:
        needed_gib = plan.cost.memory_per_device_bytes / 2**30
        warnings.append(
            f"a step needs {needed_gib:.0f} GiB per device, more than {plan.cluster.accelerator}"
            " has; add nodes or --set tensor_parallel"
        )
    if not request.as_released:
        warnings += _released_differs(plan)
    if request.as_released and plan.tokens < plan.unique_tokens:
        warnings.append(
            f"the {plan.tokens:,} tokens trained on are fewer than the {plan.unique_tokens:,}"
            " unique ones"
        )
    if plan.job.nodes >= _LARGE_SCALE_NODES and not plan.cluster_use.large_scale:
        warnings.append(
            f"{plan.job.nodes} nodes: consider --set large_scale=true, the fabric's settings for"
            " large jobs"
        )
    return warnings


def _released_differs(plan: Plan) -> list[str]:
    """A warning where the released run of this name trained another number of tokens."""
    released = plan.released
    trained = plan.training.tokens
    if released is None or abs(released.tokens - trained) <= _RELEASED_TOLERANCE * trained:
        return []
    return [
        f"the released {plan.name} is global_step{released.global_step} at batch"
        f" {released.global_batch_size}, {released.tokens / 1e9:.1f}B tokens; this plan trains"
        f" {trained / 1e9:.1f}B as the name says; --as-released repeats the released run"
    ]
