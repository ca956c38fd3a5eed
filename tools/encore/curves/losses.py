"""The losses of a run, from its TensorBoard folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encore.curves import event_runs, tags
from encore.curves.curve import FEW, Curve
from encore.errors import DataError


@dataclass(frozen=True)
class LossCurve:
    """A loss over training: tokens seen, nats per token, seconds since the epoch at which each was logged."""

    label: str
    tokens: tuple[int, ...]
    losses: tuple[float, ...]
    times_s: tuple[float, ...]


def training_curve(tensorboard: Path) -> LossCurve:
    """The training loss of a run; raises DataError where the folder holds none."""
    curve = _read(tensorboard).get(tags.TRAINING_LOSS)
    if curve is None:
        hint = "give the --tensorboard-dir of a run that has logged"
        raise DataError(f"{tensorboard} holds no {tags.TRAINING_LOSS!r}", hint)
    loss = _loss(curve, "training")
    if not loss.tokens:
        raise DataError(
            f"{tensorboard} does not tell at which tokens its losses were", "draw it against steps"
        )
    return loss


def validation_curves(tensorboard: Path) -> list[LossCurve]:
    """The validation losses of a run, one curve per validation set; empty before the first validation."""
    found = _read(tensorboard)
    losses = [
        _loss(curve, name) for tag, curve in found.items() if (name := tags.validation_set(tag))
    ]
    return [loss for loss in losses if loss.tokens]


def _read(tensorboard: Path) -> dict[str, Curve]:
    return event_runs.read(tensorboard.name, tensorboard).curves


def _loss(curve: Curve, label: str) -> LossCurve:
    known = curve.known_along("tokens")
    return LossCurve(
        label, *(tuple(column.tolist()) for column in (known.tokens, known.values, known.times_s))
    )


def smoothed(losses: Sequence[float]) -> list[float]:
    """A running mean over the last fortieth of the points; few points stay as they are."""
    window = max(1, len(losses) // FEW)
    return [
        sum(losses[max(0, i - window) : i]) / (i - max(0, i - window))
        for i in range(1, len(losses) + 1)
    ]
