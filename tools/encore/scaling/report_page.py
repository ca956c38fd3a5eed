"""One HTML page of a fit: coefficients, what is not known, validation, allocation, pictures."""

import io
from collections.abc import Sequence

import jinja2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from encore import __version__
from encore.scaling import analysis, frontier, questions
from encore.scaling.allocate import allocate
from encore.scaling.analysis import Analysis
from encore.scaling.runs import described
from encore.scaling.validation import Score

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Scaling law: {{ law.name }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
td, th { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid #ddd }
td:first-child, th:first-child { text-align: left }
figure { margin: 1rem 0 } figure svg { max-width: 100%; height: auto }
</style>
</head>
<body>
<h1>{{ law.title }}</h1>
<p>{{ law.formula }}<br>Source: {{ law.source }}</p>
<p>{{ runs }}</p>
{% for table in tables %}
<h2>{{ table.title }}</h2>
<table>
<tr>{% for cell in table.header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% for line in table.remarks %}<p>{{ line }}</p>{% endfor %}
{% endfor %}
{% for picture in pictures %}
<h2>{{ picture.title }}</h2>
<figure>{{ picture.svg | safe }}</figure>
{% endfor %}
<p>Encore {{ version }}. A lower validation loss need not mean better downstream results, nor a
rising one worse (arXiv 2510.03280).</p>
</body>
</html>
"""


def page(result: Analysis, scores: Sequence[Score], flops: float, unique_tokens: float) -> str:
    """The page; the allocation is shown for one budget and amount of unique tokens."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    theta = result.best.theta
    pictures = [
        {"title": "Measured against predicted loss", "svg": _svg(_residuals(result))},
        {"title": "Profiles", "svg": _svg(_profiles(result))},
        {
            "title": f"Best use of a budget with {unique_tokens:.3g} unique tokens",
            "svg": _svg(frontier.frontier(result.law, theta, result.theta_draws, unique_tokens)),
        },
    ]
    tables = [
        _minima(result),
        _intervals(result),
        _validation(scores),
        _allocation(result, flops, unique_tokens),
    ]
    return environment.from_string(_PAGE).render(
        law=result.law,
        runs=described(result.runs),
        tables=tables,
        pictures=pictures,
        version=__version__,
    )


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # without a date, and with a fixed salt for ids, the page of the same fit is the same bytes
    with matplotlib.rc_context({"svg.hashsalt": "encore"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[object]], remarks: Sequence[str] = ()
) -> dict[str, object]:
    return {"title": title, "header": header, "rows": rows, "remarks": remarks}


def _minima(result: Analysis) -> dict[str, object]:
    rows = []
    for minimum in result.minima:
        cells = []
        for parameter, value in zip(result.law.parameters, minimum.theta, strict=True):
            cells.append(f"{parameter.shown(float(value)):.5g}")
        rows.append([*cells, f"{minimum.huber:.8f}", f"{result.r_squared(minimum):.4f}"])
    header = [*result.law.names, "Huber's loss", "R²"]
    return _table("Minima", header, rows, analysis.remarks(result))


def _intervals(result: Analysis) -> dict[str, object]:
    rows = []
    for name in result.space.names:
        low, high = result.interval(name)
        meaning = result.law.parameters[result.law.index(name)].meaning
        rows.append((name, meaning, f"{low:.5g}", f"{high:.5g}"))
    return _table("95% intervals (bootstrap)", ("", "meaning", "from", "to"), rows)


def _validation(scores: Sequence[Score]) -> dict[str, object]:
    rows = []
    for score in scores:
        sizes = (score.rmse, score.median, score.bias)
        rows.append((score.law, score.split, score.runs, *(f"{size:.2%}" for size in sizes)))
    header = ("law", "left out", "runs", "rms error", "median error", "bias")
    return _table("Predictions of runs that were left out", header, rows)


def _allocation(result: Analysis, flops: float, unique_tokens: float) -> dict[str, object]:
    best = allocate(result.law, result.best.theta, np.array(flops), np.array(unique_tokens))
    draws = allocate(result.law, result.theta_draws, np.array(flops), np.array(unique_tokens))
    rows = []
    for name in ("params", "tokens", "epochs", "loss"):
        low, high = np.percentile(getattr(draws, name), [2.5, 97.5])
        value = getattr(best, name)[0]
        rows.append((name, f"{value:.4g}", f"{low:.4g}", f"{high:.4g}"))
    remarks = []
    point = (float(best.params[0]), float(best.tokens[0]), unique_tokens)
    if questions.outside(result.runs, *point):
        remarks.append("This lies outside the fitted runs: it is extrapolated.")
    title = f"{flops:.3g} FLOPs, {unique_tokens:.3g} unique tokens"
    return _table(title, ("", "best", "95% from", "to"), rows, remarks)


def _residuals(result: Analysis) -> Figure:
    predicted = np.exp(result.law.evaluate(result.best.theta[None], result.runs)[0][0])
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    dots = axes.scatter(
        predicted, result.runs.loss, c=np.log10(result.runs.epochs), s=14, cmap="viridis"
    )
    ends = [float(result.runs.loss.min()), float(result.runs.loss.max())]
    axes.plot(ends, ends, color="0.6", linewidth=1)
    axes.set_xlabel("predicted, nats per token")
    axes.set_ylabel("measured")
    figure.colorbar(dots, label="log10 of epochs")
    return figure


def _profiles(result: Analysis) -> Figure:
    count = len(result.profiles)
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.2 * columns, 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, profile in zip(panels, result.profiles, strict=False):
        parameter = result.law.parameters[result.law.index(profile.name)]
        values = np.exp(profile.values) if parameter.is_log else profile.values
        axes.plot(values, 1e3 * profile.losses)
        if parameter.is_log:
            axes.set_xscale("log")
        for end in (profile.lower, profile.upper):
            if end is not None:
                axes.axvline(parameter.shown(end), color="0.6", linestyle=":")
        axes.set_title(profile.name, fontsize="medium")
    for axes in panels[count:]:
        axes.set_visible(False)
    figure.supylabel("Huber's loss × 1000", fontsize="medium")
    return figure
