"""A page of runs' curves: one HTML file that needs no server and no network.

Its parts are in page/: the kit's own template, style and script, and the chart library uPlot as
released (page/README.md has its version and checksums). Runs and tags are data in the page, never
markup, and its content security policy lets no other script run and nothing be fetched.
"""

import base64
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import orjson

from encore import __version__
from encore.curves import event_runs, tags
from encore.curves.curve import Curve
from encore.curves.event_runs import EventRun
from encore.curves.view import AXES, COUNTS, FEW_POINTS, View

_PARTS = Path(__file__).resolve().parent / "page"
# Points of a page in all, so that it stays below some 6 MB; and of a curve, whatever the others.
_PAGE_POINTS = 120_000
_MIN_CURVE_POINTS = 50
_MAX_CURVE_POINTS = 2_000
_TAGS_SHOWN_FIRST = 4


def page(runs: Sequence[EventRun], title: str, view: View) -> str:
    """The page with every curve of the runs.

    Long curves are thinned to means, with the lowest and highest value of each part.
    """
    chart_script = _read_part("uPlot.iife.min.js")
    script = _read_part("page.js")
    # names of runs come from folders, and folders from anywhere
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(_read_part("page.html.j2")).render(
        version=__version__,
        title=title,
        script_sources=f"{_script_source(chart_script)} {_script_source(script)}",
        chart_style=_read_part("uPlot.min.css"),
        style=_read_part("page.css"),
        chart_script=chart_script,
        script=script,
        data=_embed(_content(runs, view)),
    )


def _content(runs: Sequence[EventRun], view: View) -> dict[str, Any]:
    """What the page's script reads: runs, tags, curves by tag, and the view to open with."""
    all_tags = event_runs.tags_of(runs)
    curve_count = sum(len(run.curves) for run in runs)
    limit = min(_MAX_CURVE_POINTS, max(_MIN_CURVE_POINTS, _PAGE_POINTS // curve_count))
    curves: dict[str, list[dict[str, Any]]] = {}
    known_axes: set[str] = set()
    longest = 0
    for number, run in enumerate(runs):
        for tag, curve in run.curves.items():
            drawn = _drawn_curve(curve, number, run.start_s, limit)
            curves.setdefault(tag, []).append(drawn)
            known_axes.update(filter(drawn.get, AXES))
            longest = max(longest, len(curve))
    return {
        "runs": [run.name for run in runs],
        "tags": all_tags,
        "shown": _tags_shown_first(all_tags),
        "curves": curves,
        "axes": sorted(known_axes, key=AXES.index),
        "axis": view.axis,
        "log": view.log_y,
        "smoothing": view.smoothing,
        "unique_tokens": view.unique_tokens,
        "few": FEW_POINTS,
        "thinned": limit if longest > limit else 0,
    }


def _tags_shown_first(all_tags: list[str]) -> list[str]:
    """The tags that are shown when the page opens: the losses, else the first few."""
    return (tags.losses(all_tags) or all_tags)[:_TAGS_SHOWN_FIRST]


def _drawn_curve(curve: Curve, run: int, start_s: float, limit: int) -> dict[str, Any]:
    """A curve as the page's script reads it, thinned to at most `limit` points.

    Places along an axis are a list, or null where none is known. A point of several values stands
    at the place of the last of them.
    """
    count = len(curve)
    parts = min(count, limit)
    starts = np.arange(parts) * count // parts
    last_of_parts = np.append(starts[1:], count) - 1
    finite = curve.values[np.isfinite(curve.values)]
    hours = (curve.times_s - start_s) / 3600
    drawn: dict[str, Any] = {
        "run": run,
        "count": count,
        "broken": count - len(finite),
        "lowest": None,
        "highest": None,
        "last": _last_point(curve, float(hours[-1])),
        # to 36 ms, which no chart can show
        "hours": np.round(hours[last_of_parts], 5).tolist(),
    }
    if len(finite):
        drawn["lowest"] = float(finite.min())
        drawn["highest"] = float(finite.max())
    for axis in COUNTS:
        drawn[axis] = _places(curve.axis(axis)[last_of_parts])
    if parts == count:
        return drawn | {"values": _rounded(curve.values), "low": None, "high": None}
    means, low, high = _summarize_parts(curve.values, starts)
    return drawn | {"values": _rounded(means), "low": _rounded(low), "high": _rounded(high)}


def _last_point(curve: Curve, hours: float) -> dict[str, Any]:
    """A curve's last value, as text where it is not finite, and its place along every axis."""
    value = float(curve.values[-1])
    point: dict[str, Any] = {"value": value, "text": None, "hours": round(hours, 4)}
    if not np.isfinite(value):
        point["text"] = str(value)
    for axis in COUNTS:
        (point[axis],) = curve.axis(axis)[-1:].tolist()
    return point


def _places(column: np.ma.MaskedArray) -> list[int | None] | None:
    places: list[int | None] = column.tolist()  # None where masked
    if all(place is None for place in places):
        return None
    return places


def _summarize_parts(
    values: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, lowest and highest of the finite values of each part; NaN where it has none."""
    finite = np.isfinite(values)
    sums = np.add.reduceat(np.where(finite, values, 0), starts)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        means = sums / np.add.reduceat(finite.astype(float), starts)
    # fmin and fmax prefer any number to NaN
    without_inf = np.where(finite, values, np.nan)
    return means, np.fmin.reduceat(without_inf, starts), np.fmax.reduceat(without_inf, starts)


def _rounded(values: np.ndarray) -> list[float | None]:
    """Seven digits, as many as a float32 has; null where a value is not finite."""
    rounded: list[float | None] = []
    # a page has some 100,000 numbers, and Python's are far faster one by one than numpy's
    for value in values.tolist():
        if math.isfinite(value):
            rounded.append(float(f"{value:.7g}"))
        else:
            rounded.append(None)
    return rounded


def _embed(content: dict[str, Any]) -> str:
    """JSON for a script element, which no name of a run or tag can end early."""
    # in JSON, < occurs in strings alone
    return orjson.dumps(content).decode().replace("<", "\\u003c")


def _script_source(script: str) -> str:
    """An inline script by its hash, as the content security policy names it."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read_part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
