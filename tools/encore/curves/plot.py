"""Pictures of runs' curves: a panel per tag, or all losses in one panel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from encore import files
from encore.curves import event_runs, tags
from encore.curves.curve import moving_average
from encore.curves.event_runs import EventRun
from encore.curves.view import FEW_POINTS, HOURS, View
from encore.errors import DataError, UsageError

# more lines than this are a grey area, and a typing error such as 400 for 400M
_MAX_EPOCHS = 1000
_LINE_STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")


def draw_panels(
    runs: Sequence[EventRun], target: Path, view: View, title: str | None = None
) -> None:
    """Draw a panel per tag with every run's curve into `target`: PNG, SVG or PDF by extension."""
    all_tags = event_runs.tags_of(runs)
    columns = min(len(all_tags), 2 if len(all_tags) <= 4 else 3)
    rows = -(-len(all_tags) // columns)
    # a Figure of its own, without pyplot, is freed when it goes and needs no display
    figure = Figure(figsize=(max(8, 5.4 * columns), 0.6 + 3.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, tag in zip(panels, all_tags, strict=False):
        for number, run in enumerate(runs):
            if tag in run.curves:
                _draw_curve(axes, *run.along(tag, view.axis), view.smoothing, f"C{number % 10}")
        _finish_panel(axes, view)
        axes.set_title(tag, fontsize="medium", parse_math=False)
        axes.grid(color="0.92")
    for axes in panels[len(all_tags) :]:
        axes.set_visible(False)
    if title is not None:
        figure.suptitle(title, parse_math=False)
    handles = []
    for number in range(len(runs)):
        handles.append(Line2D([], [], color=f"C{number % 10}"))
    legend = figure.legend(
        handles,
        ["run"] * len(runs),
        loc="outside lower center",
        ncols=min(4, len(runs)),
        frameon=False,
    )
    _label(legend, [run.name for run in runs])
    _save(figure, target)


def draw_losses(runs: Sequence[EventRun], title: str, target: Path, view: View) -> None:
    """Draw the training and validation losses of the runs in one panel, as `draw_panels` does.

    A colour is a run and a line style a loss; of a single run, each loss has a colour. Raises
    DataError where no loss is known along the view's axis.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    losses = tags.losses(event_runs.tags_of(runs))
    lines = []
    labels = []
    for run_number, run in enumerate(runs):
        for loss_number, tag in enumerate(losses):
            if tag not in run.curves:
                continue
            places, values = run.along(tag, view.axis)
            if not len(places):
                continue
            label = tags.validation_set(tag) or "training"
            color = loss_number
            line_style = _LINE_STYLES[0]
            if len(runs) > 1:
                label = f"{run.name}, {label}"
                color = run_number
                line_style = _LINE_STYLES[loss_number % len(_LINE_STYLES)]
            line = _draw_curve(axes, places, values, view.smoothing, f"C{color % 10}")
            line.set_linestyle(line_style)
            lines.append(line)
            labels.append(label)
    if not labels:
        raise DataError(f"no loss is known along {view.axis}", "draw along steps: --x steps")
    _finish_panel(axes, view)
    axes.set_title(title, parse_math=False)
    axes.set_ylabel("loss (nats per token)")
    _label(axes.legend(lines, ["loss"] * len(lines), frameon=False), labels)
    _save(figure, target)


def _draw_curve(
    axes: Axes, places: np.ndarray, values: np.ndarray, smoothing: float, color: str
) -> Line2D:
    """Draw a curve smoothed, over its faint values; a short one as it is, with markers."""
    is_short = len(values) < FEW_POINTS
    if smoothing and not is_short:
        axes.plot(places, values, color=color, alpha=0.25, linewidth=0.8)
        values = moving_average(values, smoothing)
    (line,) = axes.plot(places, values, color=color, linewidth=1.4)
    if is_short:
        line.set(marker="o", markersize=3)
    return line


def _finish_panel(axes: Axes, view: View) -> None:
    axes.set(xlabel=view.axis, yscale="log" if view.log_y else "linear")
    if view.axis != HOURS:
        axes.xaxis.set_major_formatter(EngFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    if view.axis == "tokens" and view.unique_tokens:
        _mark_epochs(axes, view.unique_tokens)


def _mark_epochs(axes: Axes, unique_tokens: int) -> None:
    """A line where each epoch but the first begins, as far as the panel's curves reach.

    Raises UsageError where there are too many.
    """
    # what the curves reach, without the panel's margins
    last = axes.dataLim.x1
    if not np.isfinite(last):  # the panel is empty
        return
    borders = (int(last) - 1) // unique_tokens
    if borders > _MAX_EPOCHS:
        raise UsageError(
            f"{last:,.0f} tokens are {borders:,} epochs of {unique_tokens:,} unique tokens,"
            " too many to draw",
            "--unique-tokens is the size of the training data, such as 400M",
        )
    for border in range(1, borders + 1):
        axes.axvline(border * unique_tokens, color="0.8", linewidth=0.8, zorder=0)


def _label(legend: Legend, labels: Sequence[str]) -> None:
    """Name the lines of a legend whose own labels only hold the places.

    As a line's own label, a name that begins with _ would be left out, and $ would be mathematics.
    """
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set(text=label, parse_math=False)


def _save(figure: Figure, target: Path) -> None:
    """Write a picture whole; the same picture is the same bytes."""
    extension = target.suffix.lstrip(".")
    # without dates, and with a fixed salt for the ids of SVG elements
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with files.atomic(target) as temporary, matplotlib.rc_context({"svg.hashsalt": "encore"}):
        figure.savefig(temporary, dpi=150, format=extension, metadata=undated.get(extension))
