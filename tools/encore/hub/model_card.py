"""A run's model card: what its plan says it is, and its loss where that is known."""

from pathlib import Path

import yaml

from encore.errors import DataError
from encore.plan.records import Plan
from encore.registry.paper_runs import load_released_steps, load_runs

_READ_BYTES = 1 << 30  # more would take longer than a card is worth


def text(plan: Plan, folder: Path) -> str:
    """README.md: the Hub's metadata, then tables of model, data, training and loss; `folder` holds the run's files."""
    corpus = plan.data.corpus
    metadata = {"tags": ["encore", "megatron-deepspeed", "data-constrained-scaling"]}
    if corpus.hub:
        metadata["datasets"] = [corpus.hub]
    parts = [
        f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n",
        f"# {plan.name}\n",
        _summary(plan),
        _table("Model", _model(plan)),
        _table("Data", _data(plan)),
        _table("Training", _training(plan)),
        _table("Loss", loss(plan, folder)),
        "## How it was made\n",
        f"The plan and its job script, by Encore:\n\n```bash\n{plan.command}\n```\n",
    ]
    return "\n".join(part for part in parts if part)


def _summary(plan: Plan) -> str:
    epochs = f"{plan.epochs:.3g} epoch{'' if plan.epochs == 1 else 's'}"
    return (
        f"A GPT of {plan.parameters / 1e6:,.4g}M parameters, trained on {plan.tokens:,} tokens, {plan.unique_tokens:,}"
        f" of them unique: {epochs}.\n"
    )


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return "\n".join(
        [
            f"## {title}\n",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
        ]
    )


def _model(plan: Plan) -> list[tuple[str, str]]:
    shape = plan.shape
    return [
        ("parameters", f"{plan.parameters:,}"),
        ("shape", shape.name),
        ("layers", str(shape.layers)),
        ("d_model", str(shape.d_model)),
        ("feed-forward", str(shape.ffw_size)),
        ("heads × size", f"{shape.heads} × {shape.kv_size}"),
        ("sequence length", str(plan.training.sequence_length)),
    ]


def _data(plan: Plan) -> list[tuple[str, str]]:
    return [
        ("corpus", plan.data.corpus.title),
        ("training tokens", f"{plan.tokens:,}"),
        ("unique tokens", f"{plan.unique_tokens:,}"),
        ("epochs", f"{plan.epochs:.4g}"),
        ("tokenizer", plan.data.tokenizer.name),
    ]


def _training(plan: Plan) -> list[tuple[str, str]]:
    training, software = plan.training, plan.software
    return [
        ("trainer", " ".join(filter(None, (software.trainer.title, software.pin.commit)))),
        ("objective", software.objective),
        ("steps × batch", f"{training.steps:,} × {training.global_batch_size}"),
        ("learning rate", f"{training.lr:g} → {training.min_lr:g}, {training.lr_decay_style}"),
        ("Adam", f"β1 {training.adam_beta1}, β2 {training.adam_beta2}, ε {training.adam_eps:g}"),
        ("weight decay, clipping", f"{training.weight_decay:g}, {training.clip_grad:g}"),
        ("seed", str(training.seed)),
    ]


def loss(plan: Plan, folder: Path) -> list[tuple[str, str]]:
    """The last validation losses among the folder's TensorBoard events, else the published loss; none where unknown."""
    measured = _measured(folder)
    known = load_runs().get(plan.name) or load_released_steps().get(plan.name)
    if not measured and known is not None and known.loss is not None:
        return [("the paper's run of this name, nats per token", f"{known.loss}")]
    return measured


def _measured(folder: Path) -> list[tuple[str, str]]:
    events = [path for path in folder.rglob("*tfevents*") if path.is_file()]
    if not events or sum(path.stat().st_size for path in events) > _READ_BYTES:
        return []
    try:
        from encore.curves import losses
    except ModuleNotFoundError:  # what reads events is in the extra `analysis`
        return []
    rows = []
    for place in sorted({path.parent for path in events}):
        try:
            curves = losses.validation_curves(place) or [losses.training_curve(place)]
        except DataError:
            continue
        rows += [
            (
                f"{curve.label}, nats per token at {curve.tokens[-1]:,} tokens",
                f"{curve.losses[-1]:.4f}",
            )
            for curve in curves
        ]
    return rows
