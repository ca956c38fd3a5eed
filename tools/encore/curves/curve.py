"""A run's curves: what its event files hold of each tag, restarts merged, Megatron's several axes made columns.

Event files overlap where a run was resumed from an earlier checkpoint: of two values for one step the one written later
counts, by its wall time and, where that is the same, by the order of files and of writing. A step that was not reached
again keeps what it had.

Megatron writes a number against steps, samples and tokens under three tags. They become one curve where the file shows
that they are the same numbers, value for value; the curve then knows at which sample and token each step was. Tags that
have no such companions learn it from what Megatron writes of steps against samples and tokens. What is not known
exactly stays unknown.
"""

import dataclasses
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np

from encore.curves import tags
from encore.curves.event_file import EventFile, Series

AXES = ("steps", "samples", "tokens")
# fewer points are not smoothed: an average would lag behind them
FEW = 40
# whole numbers above it are rounded by float32, in which values are written
_EXACT_BELOW = 1 << 24


@dataclass(frozen=True)
class Curve:
    """Values over training; arrays of shape [n]. Steps, samples and tokens seen are masked where unknown.

    Sorted by the first of these three that is known; times are seconds since the epoch.
    """

    steps: np.ma.MaskedArray
    samples: np.ma.MaskedArray
    tokens: np.ma.MaskedArray
    times_s: np.ndarray
    values: np.ndarray

    def axis(self, name: str) -> np.ma.MaskedArray:
        """Steps, samples or tokens, by name."""
        return getattr(self, name)

    def known_along(self, name: str) -> "Curve":
        """The points whose steps, samples or tokens are known."""
        return self.at(np.flatnonzero(~np.ma.getmaskarray(self.axis(name))))

    def __len__(self) -> int:
        return len(self.values)

    def at(self, rows: np.ndarray) -> "Curve":
        """These points."""
        return Curve(*(column[rows] for column in self.columns()))

    def columns(self) -> tuple[np.ndarray, ...]:
        """All columns in the order of the fields."""
        return self.steps, self.samples, self.tokens, self.times_s, self.values


def of_files(files: Sequence[EventFile], fold: bool = True) -> dict[str, Curve]:
    """The curves of a run by tag, from its event files in their order; without `fold`, every tag as it was written."""
    written = {tag for file in files for tag in file.series}
    parts: dict[str, list[Curve]] = {}
    for file in files:
        for tag, series in file.series.items():
            curve = (
                _folded(tag, file.series, written)
                if fold
                else _curve(series, {"steps": series.steps})
            )
            if curve is not None:
                parts.setdefault(tag, []).append(curve)
    merged = {tag: _merged(part) for tag, part in parts.items()}
    if not fold:
        return merged
    for unit in tags.SUFFIXES:
        merged = _with_counts(merged, unit)
    return {_named(tag, written): curve for tag, curve in merged.items()}


def moving_average(values: np.ndarray, weight: float) -> np.ndarray:
    """The exponential moving average as TensorBoard draws it, without its bias to 0 at the beginning.

    A value that is not finite stays as it is and is not averaged. 0 <= weight < 1; 0 changes nothing.
    source: TensorBoard's tensorboard/webapp/widgets/line_chart_v2/data_transformer.ts, classicSmoothing
    """
    smooth, last = np.array(values, np.float64), 0.0
    for count, i in enumerate(np.flatnonzero(np.isfinite(smooth)), 1):
        last = last * weight + smooth[i] * (1 - weight)
        smooth[i] = last / (1 - weight**count)
    return smooth


def _split(tag: str) -> tuple[str, str | None]:
    """The tag without its suffix, and the axis that this names; None for one that is no column."""
    for axis, suffix in ((None, tags.FLOPS_SUFFIX), *tags.SUFFIXES.items()):
        if tag.endswith(suffix) and tag != suffix:
            return tag.removesuffix(suffix), axis
    return tag, "steps"


def _main(base: str, written: Container[str]) -> str | None:
    """The tag that stands for a number: the one against steps, else against samples, else against tokens."""
    names = (base, *(base + suffix for suffix in tags.SUFFIXES.values()))
    return next((name for name in names if name in written), None)


def _named(tag: str, written: Container[str]) -> str:
    """The name of a folded curve: without the suffix, unless another curve has that name."""
    base, _ = _split(tag)
    return base if _main(base, written) == tag else tag


def _folded(tag: str, series: dict[str, Series], written: Container[str]) -> Curve | None:
    """A file's part of a curve with the columns that its companions give; None when it is itself such a companion."""
    base, axis = _split(tag)
    main, own = _main(base, written), series[tag]
    if tag != main:
        is_column = main in series and _are_the_same(series[main], own)
        return None if is_column else _curve(own, {axis: own.steps} if axis else {})
    columns = {axis: own.steps}
    for unit, suffix in tags.SUFFIXES.items():
        companion = series.get(base + suffix)
        if unit != axis and companion is not None and _are_the_same(own, companion):
            columns[unit] = companion.steps
    return _curve(own, columns)


def _are_the_same(series: Series, companion: Series) -> bool:
    """Whether a companion has the same values; the end of a file that was cut off may miss its last."""
    count = len(companion.values)
    same = np.array_equal(series.values[:count], companion.values, equal_nan=True)
    return same and len(series.values) - count in (0, 1)


def _curve(series: Series, columns: dict[str, np.ndarray]) -> Curve:
    """A curve of these columns; what is missing at their ends, and all others, is masked."""
    count, axes = len(series.values), []
    for axis in AXES:
        known = columns.get(axis, np.empty(0, np.int64))
        mask = np.arange(count) >= len(known)
        axes.append(
            np.ma.MaskedArray(
                np.resize(known, count) if len(known) else np.zeros(count, np.int64), mask
            )
        )
    return Curve(*axes, series.times_s, series.values)


def _merged(parts: list[Curve]) -> Curve:
    """One curve of a run's parts, sorted; the later written of two points at one place counts."""
    columns = [
        np.ma.concatenate(column)
        for column in zip(*(part.columns() for part in parts), strict=True)
    ]
    whole = Curve(*columns[:3], *(np.asarray(column) for column in columns[3:]))
    place = next(
        (whole.axis(axis) for axis in AXES if not np.ma.getmaskarray(whole.axis(axis)).any()),
        whole.times_s,
    )
    order = np.lexsort((whole.times_s, np.asarray(place)))
    ordered = np.asarray(place)[order]
    return whole.at(order[np.append(ordered[1:] != ordered[:-1], True)])


def _with_counts(curves: dict[str, Curve], unit: str) -> dict[str, Curve]:
    """The curves with samples or tokens filled in by step, from Megatron's own curve of steps against them."""
    counts = curves.get(tags.STEPS_VS.format(unit=unit))
    if counts is None or not np.all(
        (counts.values == np.floor(counts.values)) & (counts.values < _EXACT_BELOW)
    ):
        return curves
    order = np.lexsort((counts.times_s, counts.values))
    steps, totals = counts.values[order].astype(np.int64), np.asarray(counts.steps)[order]
    drawn = {tags.STEPS_VS.format(unit=unit), tags.VS_STEPS.format(unit=unit)}
    return {
        tag: _filled(curve, unit, steps, totals)
        for tag, curve in curves.items()
        if tag not in drawn
    }


def _filled(curve: Curve, unit: str, steps: np.ndarray, totals: np.ndarray) -> Curve:
    """The curve with its unknown samples or tokens taken from `totals` at the last of the same `steps`."""
    at = np.maximum(np.searchsorted(steps, np.asarray(curve.steps), side="right") - 1, 0)
    known = ~np.ma.getmaskarray(curve.steps) & (steps[at] == np.asarray(curve.steps))
    missing = np.ma.getmaskarray(curve.axis(unit))
    column = np.where(missing, totals[at], np.asarray(curve.axis(unit)))
    return dataclasses.replace(curve, **{unit: np.ma.MaskedArray(column, missing & ~known)})
