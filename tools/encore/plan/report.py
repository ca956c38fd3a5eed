"""A plan for people (a table) and for scripts (a JSON document)."""

import dataclasses
from typing import Any

from encore import human
from encore.model.config import ModelConfig
from encore.plan import trainer_args
from encore.plan.records import Plan


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values; units are in the keys."""
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
        "layout": dataclasses.asdict(plan.layout),
        "training": dataclasses.asdict(plan.training),
        "job": dataclasses.asdict(plan.job),
        "cost": dataclasses.asdict(plan.cost),
        "released": dataclasses.asdict(plan.released) if plan.released else None,
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


def as_table(plan: Plan) -> str:
    """The plan as aligned lines."""
    return human.table(
        [("run", f"{plan.name} on {plan.cluster_name}"), *_what(plan), *_where(plan), *_price(plan)]
    )


def _what(plan: Plan) -> list[tuple[str, str]]:
    training, software = plan.training, plan.software
    epochs = f"{plan.epochs:.3g} epoch{'' if plan.epochs == 1 else 's'}"
    schedule = f"{training.lr:g} → {training.min_lr:g} {training.lr_decay_style}"
    return [
        ("model", f"{plan.parameters:,} parameters, shape {plan.shape.name}"),
        (
            "data",
            f"{plan.tokens:,} tokens, {plan.unique_tokens:,} unique, {epochs} of {plan.data.corpus.title}",
        ),
        (
            "steps",
            f"{training.steps:,} of {training.global_batch_size} × {training.sequence_length} tokens",
        ),
        ("learning rate", f"{schedule}, {training.warmup_samples:,} samples of warm-up"),
        (
            "trainer",
            " ".join(
                filter(
                    None,
                    (software.trainer.name, (software.pin.commit or "")[:7], software.objective),
                )
            ),
        ),
    ]


def _where(plan: Plan) -> list[tuple[str, str]]:
    layout, job, needed = plan.layout, plan.job, human.byte_size(plan.cost.memory_per_device_bytes)
    parallel = f"data {layout.data_parallel} × tensor {layout.tensor_parallel} × pipeline {layout.pipeline_parallel}"
    recomputation = (
        "recomputed activations" if layout.activation_checkpointing else "no recomputation"
    )
    precision = "bf16" if layout.bf16 else "fp32"
    return [
        (
            "devices",
            f"{job.nodes} × {job.gpus_per_node} {plan.cluster.accelerator}, launch mode {job.launch}",
        ),
        (
            "layout",
            f"{parallel}, micro-batch {layout.micro_batch_size}, {recomputation}, {precision}",
        ),
        ("memory", f"{needed} per device{'' if plan.cost.memory_fits else ': does not fit'}"),
        ("workspace", plan.paths.workspace),
    ]


def _price(plan: Plan) -> list[tuple[str, str]]:
    cost, speed = plan.cost, plan.cluster.speed
    assumed = (
        f"MFU {speed.mfu:.1%}"
        if speed.mfu is not None
        else f"{speed.sustained_flops:.2g} FLOP/s per device"
    )
    jobs = f"{cost.jobs} job{'s' * (cost.jobs > 1)} of {plan.job.time or 'any length'}"
    billed = (
        f" = {_count(cost.billing_units)} {cost.billing_unit}"
        if cost.billing_units is not None
        else ""
    )
    kept = f"{human.byte_size(cost.checkpoints_kept_bytes)} if all are kept"
    return [
        ("FLOPs", f"{cost.flops_exact:.3g} (6ND: {cost.flops_6nd:.3g})"),
        ("time", f"{human.duration(cost.hours * 3600)} at {assumed}: {jobs}"),
        ("GPU-hours", f"{_count(cost.gpu_hours)}{billed}"),
        ("checkpoints", f"{human.byte_size(cost.checkpoint_bytes)} each, {kept}"),
    ]


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
