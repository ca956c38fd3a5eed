"""A page of runs' curves: one HTML file that needs no server and no network.

Its parts are in page/: the kit's own template, style and script, and the chart library uPlot as released (page/README.md
has version and checksums). Runs and tags are data in the page, never markup, and its content security policy lets no
other script run and nothing be fetched.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import orjson

from encore import __version__
from encore.curves import curve as curves
from encore.curves import event_runs, tags
from encore.curves.curve import FEW, Curve
from encore.curves.event_runs import Run, View

_FOLDER = Path(__file__).resolve().parent / "page"
# what a page may hold in all, so that it stays below some 6 MB, and a curve at least and at most
_POINTS, _FEWEST, _MOST = 120_000, 50, 2_000
_SHOWN_FIRST = 4


def page(compared: Sequence[Run], title: str, view: View) -> str:
    """The page with every curve of the runs; long curves thinned to means, with the lowest and highest of each part."""
    chart, script = _page_file("uPlot.iife.min.js"), _page_file("page.js")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return environment.from_string(_page_file("page.html.j2")).render(
        version=__version__,
        title=title,
        script_sources=" ".join(map(_source, (chart, script))),
        chart_style=_page_file("uPlot.min.css"),
        style=_page_file("page.css"),
        chart_script=chart,
        script=script,
        data=_embedded(_content(compared, view)),
    )


def _content(compared: Sequence[Run], view: View) -> dict[str, Any]:
    names = sorted({tag for run in compared for tag in run.curves})
    count = sum(len(run.curves) for run in compared)
    most = min(_MOST, max(_FEWEST, _POINTS // count))
    drawn = {
        tag: [
            _curve(run.curves[tag], number, run.start_s, most)
            for number, run in enumerate(compared)
            if tag in run.curves
        ]
        for tag in names
    }
    longest = max(len(curve) for run in compared for curve in run.curves.values())
    return {
        "runs": [run.name for run in compared],
        "tags": names,
        "shown": _first(names),
        "curves": drawn,
        "axes": [
            axis
            for axis in event_runs.AXES
            if any(curve[axis] for tag in names for curve in drawn[tag])
        ],
        "axis": view.axis,
        "log": view.log_y,
        "smoothing": view.smoothing,
        "few": FEW,
        "thinned": most if longest > most else 0,
    }


def _first(names: Sequence[str]) -> list[str]:
    """The tags that are shown when the page opens: the losses, else the first few."""
    losses = [tag for tag in names if tag == tags.TRAINING_LOSS or tags.validation_set(tag)]
    return (losses or list(names))[:_SHOWN_FIRST]


def _curve(curve: Curve, run: int, start_s: float, most: int) -> dict[str, Any]:
    """A curve as the page's script reads it; its places are lists, or null where none is known."""
    finite = curve.values[np.isfinite(curve.values)]
    hours = (curve.times_s - start_s) / 3600
    starts = np.arange(min(len(curve), most)) * len(curve) // min(len(curve), most)
    ends = np.append(starts[1:], len(curve)) - 1
    drawn: dict[str, Any] = {
        "run": run,
        "count": len(curve),
        "broken": len(curve) - len(finite),
        "lowest": float(finite.min()) if len(finite) else None,
        "highest": float(finite.max()) if len(finite) else None,
        "last": _last(curve, float(hours[-1])),
        "hours": np.round(hours[ends], 5).tolist(),
        **{axis: _places(curve.axis(axis)[ends]) for axis in curves.AXES},
    }
    if len(starts) == len(curve):
        return drawn | {"values": _rounded(curve.values), "low": None, "high": None}
    return drawn | {
        name: _rounded(column) for name, column in _of_parts(curve.values, starts).items()
    }


def _last(curve: Curve, hours: float) -> dict[str, Any]:
    """A curve's last value, as text where it is not finite, and where it stands."""
    value = float(curve.values[-1])
    places = {axis: curve.axis(axis)[-1:].tolist()[0] for axis in curves.AXES}
    return {
        "value": value,
        "text": None if np.isfinite(value) else str(value),
        "hours": round(hours, 4),
        **places,
    }


def _places(column: np.ma.MaskedArray) -> list[int | None] | None:
    found = column.tolist()  # None where masked
    return found if any(place is not None for place in found) else None


def _of_parts(values: np.ndarray, starts: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, lowest and highest of the finite values of each part; NaN where it has none."""
    finite = np.isfinite(values)
    known = np.where(finite, values, np.nan)
    with np.errstate(invalid="ignore"):
        means = np.add.reduceat(np.where(finite, values, 0), starts) / np.add.reduceat(
            finite.astype(float), starts
        )
    return {
        "values": means,
        "low": np.fmin.reduceat(known, starts),
        "high": np.fmax.reduceat(known, starts),
    }


def _rounded(values: np.ndarray) -> list[float | None]:
    """Seven digits, as many as a float32 has."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]


def _embedded(content: dict[str, Any]) -> str:
    """JSON that nothing in it can end early, whatever runs and tags are called."""
    return orjson.dumps(content).decode().replace("<", "\\u003c")


def _source(script: str) -> str:
    """An inline script, by its hash, for the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _page_file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
