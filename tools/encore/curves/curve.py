"""A run's curves: the points of each tag, merged over restarts, with Megatron's axes as columns.

Event files overlap where a run was resumed from an earlier checkpoint. Of two values for one step,
the one written later counts: by wall time and, where that is equal, by the order of files and of
records. A step that was not reached again keeps its value.

Megatron writes a number against steps, samples and tokens under three tags. They become one curve
where the file shows that all their values are equal; the curve then knows the samples and tokens
seen at each step. A tag without such companions learns them from the tags under which Megatron
writes steps against samples and tokens. What is not known exactly stays unknown.
"""

import dataclasses
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encore.curves import tags
from encore.curves.event_file import EventFile, Series
from encore.curves.view import COUNTS

# Values are written as float32, which rounds larger whole numbers.
_EXACT_BELOW = 1 << 24


@dataclass(frozen=True)
class Curve:
    """Values over training; all arrays have shape [n].

    steps, samples, tokens: seen so far, masked where unknown; points are sorted by the first of
    these that is fully known. times_s: seconds since the epoch. replaced: how many values are no
    points, because one that was written later has their place.
    """

    steps: np.ma.MaskedArray
    samples: np.ma.MaskedArray
    tokens: np.ma.MaskedArray
    times_s: np.ndarray
    values: np.ndarray
    replaced: int = 0

    def axis(self, name: str) -> np.ma.MaskedArray:
        """Steps, samples or tokens, by name."""
        column: np.ma.MaskedArray = getattr(self, name)
        return column

    def known_along(self, name: str) -> "Curve":
        """The points whose steps, samples or tokens are known."""
        return self.take(np.flatnonzero(~np.ma.getmaskarray(self.axis(name))))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: np.ndarray) -> "Curve":
        """The points at these indices."""
        return Curve(
            self.steps[indices],
            self.samples[indices],
            self.tokens[indices],
            self.times_s[indices],
            self.values[indices],
        )

    def columns(self) -> tuple[np.ndarray, ...]:
        """All arrays in the order of the fields."""
        return self.steps, self.samples, self.tokens, self.times_s, self.values


def merge_event_files(files: Sequence[EventFile], fold: bool = True) -> dict[str, Curve]:
    """The curves of a run by tag, from its event files in order.

    fold: make one curve of Megatron's tags for one number; without it, every tag is a curve along
    what was written as its steps.
    """
    all_tags: set[str] = set()
    for file in files:
        all_tags.update(file.series)
    parts: dict[str, list[Curve]] = {}
    for file in files:
        for tag, series in file.series.items():
            if fold:
                part = _fold(tag, file.series, all_tags)
            else:
                part = _curve(series, {"steps": series.steps})
            if part is not None:
                parts.setdefault(tag, []).append(part)
    curves = {tag: _merge(tag_parts) for tag, tag_parts in parts.items()}
    if not fold:
        return curves
    # only now: the curve of steps against samples has to be merged over restarts itself
    for unit in tags.SUFFIXES:
        curves = _fill_counts(curves, unit)
    return {_folded_name(tag, all_tags): curve for tag, curve in curves.items()}


def moving_average(values: Sequence[float] | np.ndarray, weight: float) -> np.ndarray:
    """The exponential moving average as TensorBoard draws it, without its bias to 0 at the start.

    A value that is not finite stays as it is and is not averaged. 0 <= weight < 1; 0 changes
    nothing.
    source: TensorBoard's tensorboard/webapp/widgets/line_chart_v2/data_transformer.ts,
    classicSmoothing
    """
    smooth = np.array(values, np.float64)
    average = 0.0
    for count, i in enumerate(np.flatnonzero(np.isfinite(smooth)), 1):
        average = average * weight + smooth[i] * (1 - weight)
        smooth[i] = average / (1 - weight**count)
    return smooth


def _split(tag: str) -> tuple[str, str | None]:
    """A tag without its suffix, and the axis that the suffix names; None for FLOPs, no column."""
    # a tag that is nothing but a suffix is a name of its own
    if tag.endswith(tags.FLOPS_SUFFIX) and tag != tags.FLOPS_SUFFIX:
        return tag.removesuffix(tags.FLOPS_SUFFIX), None
    for axis, suffix in tags.SUFFIXES.items():
        if tag.endswith(suffix) and tag != suffix:
            return tag.removesuffix(suffix), axis
    return tag, "steps"


def _main_tag(base: str, all_tags: Container[str]) -> str | None:
    """The tag that stands for a number: the one against steps, else samples, else tokens."""
    for suffix in ("", *tags.SUFFIXES.values()):
        if base + suffix in all_tags:
            return base + suffix
    return None


def _folded_name(tag: str, all_tags: Container[str]) -> str:
    """The name of a folded curve: without the suffix, unless another curve has that name."""
    base, _ = _split(tag)
    if _main_tag(base, all_tags) == tag:
        return base
    return tag


def _fold(tag: str, series: dict[str, Series], all_tags: Container[str]) -> Curve | None:
    """A file's part of a curve, with the columns of its companions; None for a companion."""
    base, axis = _split(tag)
    main = _main_tag(base, all_tags)
    own = series[tag]
    columns: dict[str, np.ndarray] = {}
    if axis is not None:
        columns[axis] = own.steps
    if tag != main:
        # a companion with other values stays a curve of its own: no value is lost
        if main in series and _same_values(series[main], own):
            return None
        return _curve(own, columns)
    for unit, suffix in tags.SUFFIXES.items():
        companion = series.get(base + suffix)
        if unit != axis and companion is not None and _same_values(own, companion):
            columns[unit] = companion.steps
    return _curve(own, columns)


def _same_values(series: Series, companion: Series) -> bool:
    """Whether a companion has the same values.

    It may lack the last one: a file can be cut off between the tags of one step.
    """
    count = len(companion.values)
    if len(series.values) - count not in (0, 1):
        return False
    return np.array_equal(series.values[:count], companion.values, equal_nan=True)


def _curve(series: Series, columns: dict[str, np.ndarray]) -> Curve:
    """A curve with these columns; masked where they are missing or too short."""
    count = len(series.values)
    axes = []
    for axis in COUNTS:
        counts = columns.get(axis, np.empty(0, np.int64))
        column = np.zeros(count, np.int64)
        column[: len(counts)] = counts
        axes.append(np.ma.MaskedArray(column, np.arange(count) >= len(counts)))
    steps, samples, tokens = axes
    return Curve(steps, samples, tokens, series.times_s, series.values)


def _merge(parts: list[Curve]) -> Curve:
    """One curve of a run's parts, sorted; of two points at one place, the later written counts."""
    steps, samples, tokens, times_s, values = zip(*map(Curve.columns, parts), strict=True)
    whole = Curve(
        _concatenate(steps),
        _concatenate(samples),
        _concatenate(tokens),
        np.concatenate(times_s),
        np.concatenate(values),
    )
    place = whole.times_s
    for axis in COUNTS:
        column = whole.axis(axis)
        if not np.ma.getmaskarray(column).any():
            place = np.asarray(column)
            break
    # lexsort is stable: points of one place and time stay in the order in which they were written
    order = np.lexsort((whole.times_s, place))
    ordered = place[order]
    is_last_of_place = np.append(ordered[1:] != ordered[:-1], True)
    curve = whole.take(order[is_last_of_place])
    return dataclasses.replace(curve, replaced=len(whole) - len(curve))


def _concatenate(columns: Sequence[np.ma.MaskedArray]) -> np.ma.MaskedArray:
    # np.ma.concatenate has no types, and np.concatenate loses the masks
    mask = np.concatenate(list(map(np.ma.getmaskarray, columns)))
    return np.ma.MaskedArray(np.concatenate(columns), mask)


def _fill_counts(curves: dict[str, Curve], unit: str) -> dict[str, Curve]:
    """The curves with samples or tokens filled in by step, from Megatron's curve of both.

    That curve and its inverse are left out, as every other curve now knows what they hold.
    """
    steps_by_count = curves.get(tags.STEPS_VS.format(unit=unit))
    if steps_by_count is None:
        return curves
    values = steps_by_count.values
    if not np.all((values == np.floor(values)) & (values < _EXACT_BELOW)):
        return curves
    order = np.lexsort((steps_by_count.times_s, values))
    steps = values[order].astype(np.int64)
    counts = np.asarray(steps_by_count.steps)[order]
    filled = {}
    for tag, curve in curves.items():
        if tag not in (tags.STEPS_VS.format(unit=unit), tags.VS_STEPS.format(unit=unit)):
            filled[tag] = _fill_column(curve, unit, steps, counts)
    return filled


def _fill_column(curve: Curve, unit: str, steps: np.ndarray, counts: np.ndarray) -> Curve:
    """The curve with unknown samples or tokens taken from the last of `counts` at equal `steps`."""
    curve_steps = np.asarray(curve.steps)
    # the last of equal steps is the one that was written last
    at = np.maximum(np.searchsorted(steps, curve_steps, side="right") - 1, 0)
    is_known = ~np.ma.getmaskarray(curve.steps) & (steps[at] == curve_steps)
    is_missing = np.ma.getmaskarray(curve.axis(unit))
    column = np.where(is_missing, counts[at], np.asarray(curve.axis(unit)))
    filled: dict[str, Any] = {unit: np.ma.MaskedArray(column, is_missing & ~is_known)}
    return dataclasses.replace(curve, **filled)
