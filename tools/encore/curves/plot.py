"""Pictures of runs, from their TensorBoard events: the loss of one, or curves of several beside each other."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encore import files
from encore.curves import curve as curves
from encore.curves import event_runs
from encore.curves.curve import FEW
from encore.curves.event_runs import Run, View
from encore.curves.losses import LossCurve, smoothed


def draw_loss(
    curves: list[LossCurve], title: str, target: Path, unique_tokens: int | None = None
) -> None:
    """Draw losses against tokens into `target` (PNG, SVG or PDF by its ending); epoch borders where they are known."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for color, curve in zip(
        plt.rcParams["axes.prop_cycle"].by_key()["color"], curves, strict=False
    ):
        smooth = smoothed(curve.losses)
        if len(curve.tokens) > FEW:
            axes.plot(curve.tokens, curve.losses, color=color, alpha=0.25, linewidth=0.8)
        marker = None if len(curve.tokens) > FEW else "o"
        axes.plot(
            curve.tokens,
            smooth,
            label=curve.label,
            color=color,
            marker=marker,
            markersize=4,
            linewidth=1.6,
        )
    if unique_tokens:
        last = max(curve.tokens[-1] for curve in curves)
        for border in range(unique_tokens, last, unique_tokens):
            axes.axvline(border, color="0.8", linewidth=0.8, zorder=0)
    axes.set(title=title, xlabel="tokens", ylabel="loss (nats per token)")
    axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, target)


def draw_runs(compared: Sequence[Run], shown: Sequence[str], target: Path, view: View) -> None:
    """Draw a panel per tag with every run's curve into `target` (PNG, SVG or PDF by its ending)."""
    columns = min(len(shown), 2 if len(shown) <= 4 else 3)
    rows = -(-len(shown) // columns)
    size = (max(8, 5.4 * columns), 0.6 + 3.6 * rows)
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axes, tag in zip(grid.flat, shown, strict=False):
        _draw_panel(axes, compared, tag, view)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    handles = [plt.Line2D([], [], color=_color(i), label="run") for i in range(len(compared))]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False
    )
    for text, run in zip(legend.get_texts(), compared, strict=True):
        text.set(
            text=run.name, parse_math=False
        )  # as a label, a name that begins with _ would be left out
    _save(figure, target)


def _draw_panel(axes: Axes, compared: Sequence[Run], tag: str, view: View) -> None:
    for number, run in enumerate(compared):
        if tag in run.curves:
            places, values = run.along(tag, view.axis)
            few = len(values) < FEW
            if view.smoothing and not few:
                axes.plot(places, values, color=_color(number), alpha=0.25, linewidth=0.8)
                values = curves.moving_average(values, view.smoothing)
            axes.plot(
                places,
                values,
                color=_color(number),
                marker="o" if few else None,
                markersize=3,
                linewidth=1.4,
            )
    axes.set_title(tag, fontsize="medium", parse_math=False)
    axes.set(xlabel=view.axis, yscale="log" if view.log_y else "linear")
    if view.axis != event_runs.HOURS:
        axes.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter())
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def _color(number: int) -> str:
    return f"C{number % 10}"


def _save(figure: Figure, target: Path) -> None:
    """Write a picture whole; the same picture is the same bytes."""
    ending = target.suffix.lstrip(".")
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with files.atomic(target) as temporary, matplotlib.rc_context({"svg.hashsalt": "encore"}):
        figure.savefig(temporary, dpi=150, format=ending, metadata=dates.get(ending))
    plt.close(figure)
