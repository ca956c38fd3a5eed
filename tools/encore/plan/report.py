"""A plan as a table for people and as a JSON document for programs."""

import dataclasses
from typing import Any

from encore import human
from encore.model.config import ModelConfig
from encore.plan import trainer_args
from encore.plan.records import Plan
from encore.registry.setting import settings_of


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values; the keys name the units."""
    released = None
    if plan.released is not None:
        released = dataclasses.asdict(plan.released)
    # These keys are a promise to other programs: add keys, never rename or drop one.
    return {
        "name": plan.name,
        "cluster": plan.cluster_name,
        "parameters": plan.parameters,
        "tokens": plan.tokens,
        "unique_tokens": plan.unique_tokens,
        "epochs": plan.epochs,
        "train_samples": plan.training.train_samples,
        "steps": plan.training.steps,
        "global_batch_size": plan.training.global_batch_size,
        "nodes": plan.job.nodes,
        "gpus": plan.gpus,
        "trainer": plan.software.trainer.name,
        "trainer_commit": plan.software.pin.commit,
        "trainer_entry": plan.software.pin.entry,
        "trainer_args": trainer_args.trainer_args(plan),
        "objective": plan.software.objective,
        "image": plan.software.image_name,
        "data_paths": plan.data_paths,
        "gpu_hours": plan.cost.gpu_hours,
        "jobs": plan.cost.jobs,
        "shape": plan.shape.name,
        "model": _model(plan.model),
        "layout": dataclasses.asdict(plan.layout) | {"bf16": plan.layout.bf16},
        "training": _training(plan),
        "job": dataclasses.asdict(plan.job),
        "cost": dataclasses.asdict(plan.cost),
        "released": released,
        "environment": {variable.name: variable.value for variable in plan.environment},
        "workspace": plan.paths.workspace,
        "warnings": list(plan.warnings),
    }


def _model(model: ModelConfig) -> dict[str, int]:
    """The sizes under the paper's names, which scripts read."""
    return {
        "layers": model.num_layers,
        "d_model": model.hidden_size,
        "ffw_size": model.ffn_hidden_size,
        "kv_size": model.kv_channels,
        "heads": model.num_attention_heads,
        "vocabulary": model.padded_vocab_size,
        "positions": model.max_position_embeddings,
    }


def _training(plan: Plan) -> dict[str, Any]:
    """The run in numbers and every hyperparameter."""
    # flat and under the names of --set, wherever a number lives in the package
    training = dataclasses.asdict(plan.training)
    for record in (plan.optimizer, plan.cadence):
        for name in settings_of(type(record)):
            training[name] = getattr(record, name)
    return training


def as_table(plan: Plan) -> str:
    """The plan as aligned lines."""
    first = ("run", f"{plan.name} on {plan.cluster_name}")
    return human.table([first, *_training_rows(plan), *_cluster_rows(plan), *_cost_rows(plan)])


def _training_rows(plan: Plan) -> list[tuple[str, str]]:
    training = plan.training
    optimizer = plan.optimizer
    software = plan.software
    epochs = f"{plan.epochs:.3g} epochs"
    if plan.epochs == 1:
        epochs = "1 epoch"
    trainer = [software.trainer.name]
    if software.pin.commit:
        trainer.append(software.pin.commit[:7])
    trainer.append(software.objective)
    return [
        ("model", f"{plan.parameters:,} parameters, shape {plan.shape.name}"),
        (
            "data",
            f"{plan.tokens:,} tokens, {plan.unique_tokens:,} unique,"
            f" {epochs} of {plan.data.corpus.title}",
        ),
        (
            "steps",
            f"{training.steps:,} of {training.global_batch_size} × {training.sequence_length}"
            " tokens",
        ),
        (
            "learning rate",
            f"{optimizer.lr:g} → {optimizer.min_lr:g} {optimizer.lr_decay_style},"
            f" {training.warmup_samples:,} samples of warm-up",
        ),
        ("trainer", " ".join(trainer)),
    ]


def _cluster_rows(plan: Plan) -> list[tuple[str, str]]:
    layout = plan.layout
    job = plan.job
    recomputation = "no recomputation"
    if layout.activation_checkpointing:
        recomputation = "recomputed activations"
    memory = f"{human.byte_size(plan.cost.memory_per_device_bytes)} per device"
    if not plan.cost.memory_fits:
        memory += ": does not fit"
    return [
        (
            "devices",
            f"{job.nodes} × {job.gpus_per_node} {plan.cluster.accelerator},"
            f" launch mode {job.launch}",
        ),
        (
            "layout",
            f"data {layout.data_parallel} × tensor {layout.tensor_parallel}"
            f" × pipeline {layout.pipeline_parallel}, micro-batch {layout.micro_batch_size},"
            f" {recomputation}, {layout.precision}",
        ),
        ("memory", memory),
        ("workspace", plan.paths.workspace),
    ]


def _cost_rows(plan: Plan) -> list[tuple[str, str]]:
    cost = plan.cost
    speed = plan.cluster.speed
    if speed.mfu is not None:
        assumed_speed = f"MFU {speed.mfu:.1%}"
    else:
        assumed_speed = f"{speed.sustained_flops:.2g} FLOP/s per device"
    jobs = "1 job" if cost.jobs == 1 else f"{cost.jobs} jobs"
    gpu_hours = _short(cost.gpu_hours)
    if cost.billing_units is not None:
        gpu_hours += f" = {_short(cost.billing_units)} {cost.billing_unit}"
    return [
        ("FLOPs", f"{cost.flops_exact:.3g} (6ND: {cost.flops_6nd:.3g})"),
        (
            "time",
            f"{human.duration(cost.hours * 3600)} at {assumed_speed}:"
            f" {jobs} of {plan.job.time or 'any length'}",
        ),
        ("GPU-hours", gpu_hours),
        (
            "checkpoints",
            f"{human.byte_size(cost.checkpoint_bytes)} each,"
            f" {human.byte_size(cost.checkpoints_kept_bytes)} if all are kept",
        ),
    ]


def _short(value: float) -> str:
    """Three digits, or all of a whole number's."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
