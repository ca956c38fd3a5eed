"""The losses of a run, from its TensorBoard folder."""

from dataclasses import dataclass
from pathlib import Path

from encore.curves import event_runs, tags
from encore.curves.curve import Curve
from encore.errors import DataError


@dataclass(frozen=True)
class LossCurve:
    """A loss over training.

    tokens: seen so far. losses: nats per token. times_s: when each was logged, in seconds since
    the epoch.
    """

    label: str
    tokens: tuple[int, ...]
    losses: tuple[float, ...]
    times_s: tuple[float, ...]


def training_curve(tensorboard: Path) -> LossCurve:
    """The training loss of a run.

    Raises DataError where the folder has no training loss, or none at a known number of tokens.
    """
    curve = event_runs.read(tensorboard.name, tensorboard).curves.get(tags.TRAINING_LOSS)
    if curve is None:
        raise DataError(
            f"{tensorboard} has no {tags.TRAINING_LOSS!r}",
            "give the --tensorboard-dir of a run that has logged",
        )
    loss = _loss_curve(curve, "training")
    if not loss.tokens:
        raise DataError(
            f"{tensorboard} does not say at which tokens its losses were logged",
            f"draw them along steps: tools/export_tensorboard.py {tensorboard} --losses --x steps",
        )
    return loss


def validation_curves(tensorboard: Path) -> list[LossCurve]:
    """The validation losses of a run, a curve per set; empty before the first validation."""
    losses = []
    for tag, curve in event_runs.read(tensorboard.name, tensorboard).curves.items():
        name = tags.validation_set(tag)
        if name is not None:
            loss = _loss_curve(curve, name)
            if loss.tokens:
                losses.append(loss)
    return losses


def _loss_curve(curve: Curve, label: str) -> LossCurve:
    curve = curve.known_along("tokens")
    return LossCurve(
        label,
        tuple(curve.tokens.tolist()),
        tuple(curve.values.tolist()),
        tuple(curve.times_s.tolist()),
    )
