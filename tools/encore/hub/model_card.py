"""A run's model card: its plan, and its loss where that is known."""

from pathlib import Path

import yaml

from encore.errors import DataError
from encore.plan.records import Plan
from encore.registry.paper_runs import load_released_steps, load_runs

_LARGEST_READ_BYTES = 1 << 30  # reading more events would take longer than a card is worth


def text(plan: Plan, folder: Path) -> str:
    """README.md: the Hub's metadata, then tables of model, data, training and loss.

    folder: the run's files, whose TensorBoard events give the loss.
    """
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
    ]
    loss_rows = loss(plan, folder)
    if loss_rows:
        parts.append(_table("Loss", loss_rows))
    parts.append("## How it was trained\n")
    parts.append(f"The plan and its job script, by Encore:\n\n```bash\n{plan.command}\n```\n")
    return "\n".join(parts)


def _summary(plan: Plan) -> str:
    unit = "epoch" if plan.epochs == 1 else "epochs"
    return (
        f"A GPT of {plan.parameters / 1e6:,.4g}M parameters, trained on {plan.tokens:,} tokens,"
        f" {plan.unique_tokens:,} of them unique: {plan.epochs:.3g} {unit}.\n"
    )


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"## {title}\n", "| | |", "|---|---|"]
    for name, value in rows:
        lines.append(f"| {name} | {value} |")
    return "\n".join(lines) + "\n"


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
        ("licence of the corpus", plan.data.corpus.licence),
        ("training tokens", f"{plan.tokens:,}"),
        ("unique tokens", f"{plan.unique_tokens:,}"),
        ("epochs", f"{plan.epochs:.4g}"),
        ("tokenizer", plan.data.tokenizer.name),
    ]


def _training(plan: Plan) -> list[tuple[str, str]]:
    training = plan.training
    optimizer = plan.optimizer
    software = plan.software
    return [
        ("trainer", f"{software.trainer.title} {software.pin.commit or ''}".strip()),
        ("objective", software.objective),
        ("steps × batch", f"{training.steps:,} × {training.global_batch_size}"),
        ("learning rate", f"{optimizer.lr:g} → {optimizer.min_lr:g}, {optimizer.lr_decay_style}"),
        ("Adam", f"β1 {optimizer.adam_beta1}, β2 {optimizer.adam_beta2}, ε {optimizer.adam_eps:g}"),
        ("weight decay, clipping", f"{optimizer.weight_decay:g}, {optimizer.clip_grad:g}"),
        ("seed", str(optimizer.seed)),
    ]


def loss(plan: Plan, folder: Path) -> list[tuple[str, str]]:
    """Rows of the last validation losses in the folder's TensorBoard events.

    Without events, the published loss of the paper's run of this name; no rows where there is none.
    """
    rows = _measured_losses(folder)
    run = load_runs().get(plan.name)
    paper_run = run or load_released_steps().get(plan.name)
    if rows or paper_run is None or paper_run.loss is None:
        return rows
    value = f"{paper_run.loss}"
    if run is not None and run.in_fit:
        value += ", one of the losses that the paper's scaling law is fitted to"
    return [("the paper's run of this name, nats per token", value)]


def _measured_losses(folder: Path) -> list[tuple[str, str]]:
    event_folders = set()
    event_bytes = 0
    for path in folder.rglob("*tfevents*"):
        if path.is_file():
            event_folders.add(path.parent)
            event_bytes += path.stat().st_size
    if event_bytes > _LARGEST_READ_BYTES:
        return []
    try:
        from encore.curves import losses
    except ModuleNotFoundError:  # reading events needs the extra `analysis`
        return []
    rows = []
    for event_folder in sorted(event_folders):
        try:
            curves = losses.validation_curves(event_folder)
            if not curves:
                curves = [losses.training_curve(event_folder)]
        except DataError:
            continue
        for curve in curves:
            label = f"{curve.label}, nats per token at {curve.tokens[-1]:,} tokens"
            rows.append((label, f"{curve.losses[-1]:.4f}"))
    return rows
