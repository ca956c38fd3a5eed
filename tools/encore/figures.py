"""Pictures of runs: the loss curve from a run's TensorBoard events."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from encore import files
from encore.errors import DataError

_FEW = 40
_TRAIN_TAG = "lm-loss-training/lm loss vs tokens"
_VALID_TAG = "lm-loss-validation/{}/lm loss validation vs tokens"


@dataclass(frozen=True)
class Curve:
    """A loss over training: tokens seen, nats per token, seconds since the epoch at which each was logged."""

    label: str
    tokens: tuple[int, ...]
    losses: tuple[float, ...]
    times_s: tuple[float, ...]


def training_curve(tensorboard: Path) -> Curve:
    """The training loss of a run; raises DataError where the folder holds none."""
    return _curve(_events(tensorboard), _TRAIN_TAG, "training")


def validation_curves(tensorboard: Path) -> list[Curve]:
    """The validation losses of a run, one curve per validation set; empty before the first validation."""
    events = _events(tensorboard)
    before, after = _VALID_TAG.split("{}")
    tags = [tag for tag in _tags(events) if tag.startswith(before) and tag.endswith(after)]
    return [_curve(events, tag, tag[len(before) : -len(after)]) for tag in tags]


def _events(tensorboard: Path) -> EventAccumulator:
    events = EventAccumulator(str(tensorboard), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def _tags(events: EventAccumulator) -> list[str]:
    # TensorBoard reads scalars that carry their plugin's metadata as tensors
    return [*events.Tags()["scalars"], *events.Tags()["tensors"]]


def _curve(events: EventAccumulator, tag: str, label: str) -> Curve:
    if tag not in _tags(events):
        raise DataError(f"{events.path} holds no {tag!r}", "give the --tensorboard-dir of a run that has logged")
    if tag in events.Tags()["scalars"]:
        points = [(event.step, event.value, event.wall_time) for event in events.Scalars(tag)]
    else:
        points = [
            (event.step, float(tensor_util.make_ndarray(event.tensor_proto)), event.wall_time)
            for event in events.Tensors(tag)
        ]
    # a resumed run logs some steps again: the last time counts
    latest = sorted({point[0]: point for point in points}.values())
    steps, losses, times = zip(*latest, strict=True)
    return Curve(label, steps, losses, times)


def smoothed(losses: Sequence[float]) -> list[float]:
    """A running mean over the last fortieth of the points; few points stay as they are."""
    window = max(1, len(losses) // _FEW)
    return [sum(losses[max(0, i - window) : i]) / (i - max(0, i - window)) for i in range(1, len(losses) + 1)]


def draw_loss(curves: list[Curve], title: str, target: Path, unique_tokens: int | None = None) -> None:
    """Draw losses against tokens into `target` (PNG, SVG or PDF by its ending); epoch borders where they are known."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for color, curve in zip(plt.rcParams["axes.prop_cycle"].by_key()["color"], curves, strict=False):
        smooth = smoothed(curve.losses)
        if len(curve.tokens) > _FEW:
            axes.plot(curve.tokens, curve.losses, color=color, alpha=0.25, linewidth=0.8)
        marker = None if len(curve.tokens) > _FEW else "o"
        axes.plot(curve.tokens, smooth, label=curve.label, color=color, marker=marker, markersize=4, linewidth=1.6)
    if unique_tokens:
        last = max(curve.tokens[-1] for curve in curves)
        for border in range(unique_tokens, last, unique_tokens):
            axes.axvline(border, color="0.8", linewidth=0.8, zorder=0)
    axes.set(title=title, xlabel="tokens", ylabel="loss (nats per token)")
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with files.atomic(target) as temporary:
        figure.savefig(temporary, dpi=150, format=target.suffix.lstrip("."))
    plt.close(figure)
