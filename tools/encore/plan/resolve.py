"""From a request to a plan: the registry's defaults, the user's overrides, and what follows from both."""

import dataclasses
import math
from typing import Any

from encore.errors import UnknownNameError, UsageError
from encore.model.config import ModelConfig, padded_vocabulary
from encore.plan import placement, run_data, run_name, sizing
from encore.plan.records import Data, Plan, Released, Request, Software, Training
from encore.plan.run_paths import RunPaths
from encore.plan.settings import Settings, choose
from encore.plan.user_config import UserConfig, safe_account, safe_path
from encore.registry import clusters
from encore.registry import models as registry
from encore.registry.corpora import load_corpora
from encore.registry.folder import Variable
from encore.registry.images import load_images
from encore.registry.paper_runs import load_released_steps, load_runs
from encore.registry.regimes import Regime, load_regimes
from encore.registry.tokenizers import TokenizerFacts, load_tokenizers
from encore.registry.trainers import load_trainers

_OPTIMIZER = (
    *("lr", "min_lr", "lr_decay_style", "adam_beta1", "adam_beta2", "adam_eps"),
    *("weight_decay", "clip_grad", "dropout"),
)
_CADENCE = ("log_interval", "eval_interval", "eval_iters")
_LARGE_SCALE_HINT_NODES = 128


def resolve(request: Request, config: UserConfig) -> Plan:
    """Resolve a request; raises UsageError for what cannot be, UnknownNameError with the nearest valid names."""
    settings = request.settings
    site = placement.site(request.cluster, settings, request.time)
    run = _run_name(request)
    shape = _shape(run)
    regime = load_regimes()[shape.regime]
    software = _software(request, site.cluster)
    data = _data(run, regime, software)
    model = _model(
        shape, data.tokenizer, choose(settings.sequence_length, regime.data.sequence_length)
    )
    released = _released(run.name, model.max_position_embeddings)
    training = _training(request, regime, run, model, released)
    work = placement.Workload(model, data.tokenizer.vocabulary, training, regime.batch, settings)
    on = placement.spread(work, site, request.nodes)
    account = choose(request.account, config.account)
    image = software.image
    plan = Plan(
        name=run.name,
        command=request.as_command(),
        cluster_name=request.cluster,
        cluster=site.cluster,
        software=software,
        shape=shape,
        model=on.model,
        layout=on.layout,
        training=training,
        data=data,
        job=placement.job(site, on.nodes, None if account is None else safe_account(account)),
        cost=placement.cost(work, site, on),
        parameters=model.parameters,
        tokens=run.tokens if _trains_the_name(request) else training.tokens,
        unique_tokens=run.unique_tokens,
        paths=RunPaths(
            _workspace(request, config, site.cluster),
            run.name,
            tuple(sorted(config.folders.items())),
        ),
        environment=_active(
            site.cluster.environment + (image.environment if image else ()), on.nodes, settings
        ),
        rank_environment=image.rank_environment if image else (),
        released=released,
    )
    return dataclasses.replace(plan, warnings=tuple(_warnings(plan, request)))


def _named(kind: str, name: str, records: dict[str, Any]) -> Any:
    if name not in records:
        raise UnknownNameError(kind, name, records)
    return records[name]


def _run_name(request: Request) -> run_name.RunName:
    corpora = load_corpora()
    words = run_name.Vocabulary(
        labels={
            label: record.parameters for label, record in registry.load_models().labels.items()
        },
        known={
            name: (run.parameters, run.tokens, run.unique_tokens)
            for name, run in load_runs().items()
        },
        corpora=corpora,
        variants={variant for corpus in corpora.values() for variant in corpus.variants},
    )
    return run_name.parse(request.name, words, request.choice)


def _shape(run: run_name.RunName) -> registry.ModelShape:
    models = registry.load_models()
    known = load_runs().get(run.name)
    return models.shapes[known.shape if known and known.shape else models.labels[run.label].shape]


def _software(request: Request, cluster: clusters.Cluster) -> Software:
    trainer = _named("trainer", request.trainer or cluster.trainer, load_trainers())
    pin = trainer.commits.get(request.objective)
    if pin is None:
        able = [t.name for t in load_trainers().values() if request.objective in t.commits]
        raise UsageError(
            f"trainer {trainer.name} has no {request.objective} objective",
            f"choose --trainer {' or '.join(able)}",
        )
    image_name = choose(request.settings.image, cluster.image)
    image = _named("image", image_name, load_images()) if image_name else None
    return Software(trainer, pin, request.objective, image_name, image)


def _data(run: run_name.RunName, regime: Regime, software: Software) -> Data:
    trainer, suffix, corpora = software.trainer, run.suffix, load_corpora()
    corpus = suffix.corpus or regime.data.corpus
    mix = ("python", 100 - suffix.corpus_share) if suffix.corpus_share else None
    spec = run_data.DataSpec(
        corpus, run.unique_tokens if run.unique_label else None, suffix.variant, mix
    )
    train, valid = run_data.train_group(spec, corpora), run_data.valid_groups(spec, corpora)
    parts = [part for group in (train, *valid) for part in group.parts]
    reads_ranges = trainer.ranges and not software.pin.ignores_ranges
    if not reads_ranges and any((part.start, part.end) != (0.0, 1.0) for part in parts):
        raise UsageError(
            f"trainer {trainer.name} cannot read a range of a data set for {software.objective}",
            "choose --trainer turkunlp",
        )
    if not trainer.several_validation_sets and len(valid) > 1:
        raise UsageError(
            f"trainer {trainer.name} has one validation set only", "choose --trainer turkunlp"
        )
    tokenizer = load_tokenizers()[regime.data.tokenizer]
    return Data(corpora[corpus], tokenizer, train, valid, *run_data.file_names(spec, corpora))


def _model(shape: registry.ModelShape, tokenizer: TokenizerFacts, positions: int) -> ModelConfig:
    return ModelConfig(
        num_layers=shape.layers,
        hidden_size=shape.d_model,
        num_attention_heads=shape.heads,
        kv_channels=shape.kv_size,
        ffn_hidden_size=shape.ffw_size,
        max_position_embeddings=positions,
        padded_vocab_size=padded_vocabulary(tokenizer.vocabulary),
    )


def _released(name: str, sequence_length: int) -> Released | None:
    record = load_runs().get(name) or load_released_steps().get(name)
    if record is None or record.global_step is None or record.global_batch_size is None:
        return None
    samples = choose(record.train_samples, record.global_step * record.global_batch_size)
    return Released(
        record.global_step, record.global_batch_size, samples, samples * sequence_length
    )


def _trains_the_name(request: Request) -> bool:
    """Whether the tokens are those that the name states."""
    return not request.as_released and request.settings.train_samples is None


def _batch_size(regime: Regime, parameters: int) -> int:
    return next(
        size.sequences
        for size in regime.batch.sizes
        if size.below_parameters is None or parameters < size.below_parameters
    )


def _training(
    request: Request,
    regime: Regime,
    run: run_name.RunName,
    model: ModelConfig,
    released: Released | None,
) -> Training:
    s = request.settings
    batch, samples = (
        _batch_size(regime, model.parameters),
        sizing.train_samples(run.tokens, model.max_position_embeddings),
    )
    if request.as_released:
        if released is None:
            raise UsageError(
                f"what ran as {run.name} is not known",
                "leave --as-released out: the plan then trains the name",
            )
        batch, samples = released.global_batch_size, released.train_samples
    batch, samples = choose(s.global_batch_size, batch), choose(s.train_samples, samples)
    steps = samples // batch
    if steps == 0:
        raise UsageError(
            f"{samples:,} samples do not fill one batch of {batch}",
            "train more tokens or --set global_batch_size",
        )
    chosen = {key: choose(getattr(s, key), getattr(regime.optimizer, key)) for key in _OPTIMIZER}
    chosen |= {key: choose(getattr(s, key), getattr(regime.cadence, key)) for key in _CADENCE}
    if chosen["min_lr"] > chosen["lr"]:
        raise UsageError(
            f"min_lr {chosen['min_lr']} is above lr {chosen['lr']}", "--set min_lr below lr"
        )
    return Training(
        sequence_length=model.max_position_embeddings,
        global_batch_size=batch,
        train_samples=samples,
        steps=steps,
        warmup_samples=int(samples * choose(s.warmup_fraction, regime.optimizer.warmup_fraction)),
        seed=choose(s.seed, choose(run.suffix.seed, regime.optimizer.seed)),
        save_interval=choose(s.save_interval, math.ceil(steps / regime.cadence.saves_per_run)),
        **chosen,
    )


def _workspace(request: Request, config: UserConfig, cluster: clusters.Cluster) -> str:
    """The option's, else the configuration's, else the profile's pattern."""
    workspace = choose(request.workspace, config.workspace)
    if workspace is None:
        account = choose(request.account, config.account)
        pattern = (
            "~/encore"
            if "{account}" in cluster.workspace and account is None
            else cluster.workspace
        )
        workspace = pattern.replace("{account}", account or "")
    return safe_path(workspace, "workspace")


def _active(
    variables: tuple[Variable, ...], nodes: int, settings: Settings
) -> tuple[Variable, ...]:
    conditions = {
        "always": True,
        "multi-node": nodes > 1,
        "large-scale": bool(settings.large_scale),
    }
    return tuple(variable for variable in variables if conditions[variable.when])


def _warnings(plan: Plan, request: Request) -> list[str]:
    found = [plan.software.pin.warning] if plan.software.pin.warning else []
    if plan.cluster.account_required and plan.job.account is None:
        found.append(
            f"no account: {plan.cluster_name} refuses a job without one, and the workspace is {plan.paths.workspace};"
            " give --account or set it in the configuration"
        )
    if not plan.cost.memory_fits:
        found.append(
            f"a step needs {plan.cost.memory_per_device_bytes / 2**30:.0f} GiB per device, more than"
            f" {plan.cluster.accelerator} has; add nodes or --set tensor_parallel"
        )
    trained = plan.training.tokens
    if (
        plan.released
        and not request.as_released
        and abs(plan.released.tokens - trained) > 0.01 * trained
    ):
        found.append(
            f"the released {plan.name} is global_step{plan.released.global_step} at batch"
            f" {plan.released.global_batch_size}, {plan.released.tokens / 1e9:.1f}B tokens; this plan trains"
            f" {trained / 1e9:.1f}B as the name says; --as-released repeats what ran"
        )
    if (
        request.as_released
        and plan.tokens != plan.unique_tokens
        and plan.tokens < plan.unique_tokens
    ):
        found.append(
            f"the {plan.tokens:,} tokens trained on are fewer than the {plan.unique_tokens:,} unique ones"
        )
    if plan.job.nodes >= _LARGE_SCALE_HINT_NODES and not request.settings.large_scale:
        found.append(
            f"{plan.job.nodes} nodes: consider --set large_scale=true for the fabric's settings at scale"
        )
    return found
