"""The paper's figures, each a function of tables: runs, published numbers, a law.

A figure draws what its numbers say; where the paper's picture and its data differ, the caption in
registry/paper/figures.yml says how.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from encore import files
from encore.errors import DataError, UsageError
from encore.registry.paper_data import (
    CurvePoint,
    FilterPoint,
    HistogramBin,
    MixPoint,
    MupPoint,
    Percentile,
    StrategyScore,
    load_points,
)
from encore.registry.paper_runs import load_runs
from encore.registry.published_law import load_published_law
from encore.scaling import allocate, analysis, fit, laws
from encore.scaling.laws import Law
from encore.scaling.runs import Array, Points, Runs

FORMATS = ("svg", "pdf", "png")
# Okabe and Ito's colours, told apart by readers who do not see all of them
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "grid.color": "0.92",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "encore",
    "axes.prop_cycle": cycler(color=COLORS),
}
_FAMILIES = {"2b8": (2.81e9, 55e9), "4b2": (4.2465e9, 84e9), "8b7": (8.67e9, 178e9)}
_EPOCH_COLORS = "viridis"
_LOSS_COLORS = "viridis_r"
_LEVELS = 14
_LEAST_RUNS = 4  # of a contour
_DATASETS = {"c4": "C4", "python": "Python"}
_LOSS_LABEL = "validation loss, nats per token"


def draw(figure: Callable[[], Figure], targets: Sequence[Path]) -> None:
    """Draw a figure into files, each whole; the same figure is the same bytes."""
    for target in targets:
        if target.suffix[1:] not in FORMATS:
            raise UsageError(f"{target}: a picture ends in .{', .'.join(FORMATS)}")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(_STYLE):
        picture = figure()
        for target in targets:
            extension = target.suffix[1:]
            with files.atomic(target) as temporary:
                metadata = undated.get(extension)
                picture.savefig(temporary, dpi=150, format=extension, metadata=metadata)


def _panels(
    rows: int, columns: int, width: float = 4.2, height: float = 3.2
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _in_billions(axis: Axis) -> None:
    """Label an axis of counts as the paper does: 200M, 10B."""

    def label(value: float, _: int | None) -> str:
        for unit, scale in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
            if value >= scale:
                return f"{value / scale:g}{unit}"
        return f"{value:g}"

    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_formatter(NullFormatter())


def _finished(prefix: str = "", unique: float | None = None, plain: bool = True) -> Runs:
    """The paper's finished runs by the start of their names and their unique tokens."""
    rows = []
    for run in load_runs().values():
        if run.loss is None or not run.name.startswith(prefix):
            continue
        if unique is not None and run.unique_tokens != unique:
            continue
        if plain == run.name.endswith("dedup"):
            continue
        rows.append((run.name, run.parameters, run.tokens, run.unique_tokens, run.loss))
    if not rows:
        raise DataError(f"no finished run {prefix!r} with {unique} unique tokens")
    names = tuple(row[0] for row in rows)
    params, tokens, uniques, loss = np.array([row[1:] for row in rows], dtype=np.float64).T
    return Runs(params, tokens, uniques, loss, names)


def _named(names: Sequence[str]) -> Runs:
    every = _finished()
    positions = [every.names.index(name) for name in names]
    return every.subset(np.array(positions))


def _free_law() -> Array:
    """The law of repetition with its base fitted to the 182 runs."""
    from encore.scaling import runs

    return fit.minima(fit.coordinates(laws.REPETITION), runs.of_paper())[0].theta


def _predicted(
    law: Law, theta: Array, params: Array | float, tokens: Array | float, unique: Array | float
) -> Array:
    columns = np.broadcast_arrays(
        np.asarray(params, float), np.asarray(tokens, float), np.asarray(unique, float)
    )
    shape = columns[0].shape
    points = Points(*(column.ravel() for column in columns))
    losses: Array = allocate.predict(law, theta, points)[0].reshape(shape)
    return losses


def compute_return() -> Figure:
    """Figure 1."""
    published, free = analysis.published_theta(), _free_law()
    figure, (left, right) = _panels(1, 2)
    measured = _named([f"4b2{tokens}b12b" for tokens in (12, 24, 36, 48, 60, 72, 84)])
    tokens = np.geomspace(8e9, 2e11, 200)
    size, unique = measured.params[0], 12e9
    for theta, label, style in ((published, "published law", "--"), (free, "law, free base", "-")):
        losses = _predicted(laws.REPETITION, theta, size, tokens, np.minimum(unique, tokens))
        left.plot(tokens, losses, style, label=label)
    fresh = _predicted(laws.CHINCHILLA, free[:5], size, tokens, tokens)
    left.plot(tokens, fresh, ":", color="0.4", label="free base, every token fresh")
    left.plot(measured.tokens, measured.loss, "ko", markersize=4, label="runs, 12B unique tokens")
    left.set_xscale("log")
    left.set(xlabel="training tokens", ylabel=_LOSS_LABEL, title="4.2B parameters")
    _in_billions(left.xaxis)
    left.legend()

    flops, unique = 9.3e21, 25e9
    sizes = np.geomspace(1.5e9, 4e10, 200)
    for theta, label, style in ((published, "published law", "--"), (free, "law, free base", "-")):
        losses = _predicted(laws.REPETITION, theta, sizes, flops / 6 / sizes, unique)
        right.plot(sizes, losses, style, label=label)
    pair = _named(["8b7178b25b", "8b7178b25bopt"])
    right.plot(pair.params, pair.loss, "ko", markersize=4, label="runs")
    for params, loss, epochs in zip(pair.params, pair.loss, pair.epochs, strict=True):
        right.annotate(
            f"{epochs:.1f} epochs",
            (params, loss),
            textcoords="offset points",
            xytext=(5, 3 if epochs < 8 else -9),
        )
    right.set_xscale("log")
    right.set(xlabel="parameters", ylabel=_LOSS_LABEL, title="9.3e21 FLOPs, 25B unique tokens")
    _in_billions(right.xaxis)
    right.legend()
    return figure


def data_setup() -> Figure:
    """Figure 2."""
    figure, panels = _panels(1, 3, 3.4, 2.8)
    for axes, (family, (params, tokens)) in zip(panels, _FAMILIES.items(), strict=True):
        every = _finished(family)
        chosen = every.subset((every.tokens == tokens) & (every.params == params))
        unique = np.unique(chosen.unique_tokens)
        places = np.arange(len(unique))
        axes.barh(places, unique / 1e9, color=COLORS[0], label="unique")
        axes.barh(
            places, (tokens - unique) / 1e9, left=unique / 1e9, color="0.85", label="repeated"
        )
        axes.set_yticks(places, [f"{tokens / amount:.3g}" for amount in unique])
        axes.set(xlabel="billion tokens", ylabel="epochs", title=f"{params / 1e9:.2g}B parameters")
        axes.grid(visible=False)
    panels[-1].legend(loc="lower right")
    return figure


def _show_measured(axes: Axes, runs: Runs) -> None:
    """Losses of runs, interpolated between them, over epochs and size."""
    low, high = float(runs.loss.min()), float(np.quantile(runs.loss, 0.9))
    drawn = axes.tricontourf(
        np.log10(runs.epochs),
        np.log10(runs.params),
        runs.loss,
        levels=np.geomspace(low, high, _LEVELS),
        cmap=_LOSS_COLORS,
        extend="both",
    )
    axes.plot(np.log10(runs.epochs), np.log10(runs.params), "k.", markersize=3)
    best = runs.loss.argmin()
    _mark(axes, float(runs.epochs[best]), float(runs.params[best]), float(runs.loss[best]))
    axes.set_title(f"measured: {len(runs)} runs")
    _loss_bar(axes, drawn)


def _show_predicted(axes: Axes, runs: Runs, law: Law, theta: Array) -> None:
    """A law's losses over the same epochs and sizes."""
    epochs = np.geomspace(runs.epochs.min(), runs.epochs.max(), 80)
    sizes = np.geomspace(runs.params.min(), runs.params.max(), 80)
    unique = float(runs.unique_tokens[0])
    losses = _predicted(law, theta, sizes[:, None], unique * epochs[None], unique)
    low, high = float(losses.min()), float(np.quantile(losses, 0.9))
    drawn = axes.contourf(
        np.log10(epochs),
        np.log10(sizes),
        losses,
        levels=np.geomspace(low, high, _LEVELS),
        cmap=_LOSS_COLORS,
        extend="both",
    )
    row, column = np.unravel_index(losses.argmin(), losses.shape)
    _mark(axes, float(epochs[column]), float(sizes[row]), low)
    axes.set_title(f"predicted: law of {law.name}")
    _loss_bar(axes, drawn)


def _loss_bar(axes: Axes, drawn: ContourSet) -> None:
    axes.figure.colorbar(drawn, ax=axes, label=_LOSS_LABEL, format="%.2f")


def _mark(axes: Axes, epochs: float, params: float, loss: float) -> None:
    place = (float(np.log10(epochs)), float(np.log10(params)))
    axes.plot(*place, marker="*", color=COLORS[1], markersize=11)
    axes.annotate(
        f"{loss:.3f}",
        place,
        textcoords="offset points",
        xytext=(-6, -14),
        ha="right",
        bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"},
    )


def isoloss(uniques: Sequence[float], law: Law, theta: Array, every: Runs) -> Figure:
    """Measured and predicted losses over epochs and size, a row per amount of unique tokens."""
    figure, panels = _panels(len(uniques), 2, 4.6, 3.4)
    for row, unique in enumerate(uniques):
        runs = every.subset(every.unique_tokens == unique)
        pairs = np.stack([runs.params, runs.tokens])
        # other seeds of a run would be points on top of one another
        _, first = np.unique(pairs, axis=1, return_index=True)
        runs = runs.subset(first)
        _show_measured(panels[2 * row], runs)
        _show_predicted(panels[2 * row + 1], runs, law, theta)
        for axes in panels[2 * row : 2 * row + 2]:
            axes.set(
                xlabel="log10 of epochs",
                ylabel=f"log10 of parameters, {unique / 1e6:,.0f}M unique tokens",
            )
            axes.grid(visible=False)
    return figure


def isoloss_100m() -> Figure:
    """Figure 3."""
    return isoloss([100e6], laws.REPETITION, analysis.published_theta(), _finished())


def isoloss_400m_1b5() -> Figure:
    """Figure 8."""
    return isoloss([400e6, 1.5e9], laws.REPETITION, analysis.published_theta(), _finished())


def isoloss_exponent() -> Figure:
    """Figure 12."""
    published = load_published_law()
    rates = np.log([published.exponent_R_D, published.exponent_R_N])
    theta = np.append(analysis.published_theta()[:5], rates)
    return isoloss([100e6], laws.EXPONENT, theta, _finished())


def _curve_panel(axes: Axes, points: Sequence[CurvePoint], against_epochs: bool = False) -> None:
    by_run: dict[str, list[CurvePoint]] = {}
    for point in points:
        by_run.setdefault(point.run, []).append(point)
    norm = LogNorm(1, 44)
    colors = matplotlib.colormaps[_EPOCH_COLORS]
    for curve in sorted(by_run.values(), key=lambda curve: curve[0].epochs):
        curve = sorted(curve, key=lambda point: point.tokens)
        epochs = curve[0].epochs
        places = np.array([point.tokens for point in curve])
        if against_epochs:
            places = places * epochs / places[-1]
        losses = [point.loss for point in curve]
        axes.plot(places, losses, color=colors(norm(epochs)), label=f"{epochs:g}", linewidth=1)
    if against_epochs:
        axes.set_xscale("log")
        axes.set_xlabel("epochs")
    else:
        _in_billions(axes.xaxis)
        axes.set_xlabel("tokens")


def _curves(
    choices: Sequence[tuple[str, str]], ylabel: str, against_epochs: bool = False
) -> Figure:
    """A row of panels per choice (table, corpus), a panel per family."""
    figure, panels = _panels(len(choices), 3, 3.8, 2.9)
    for row, (table, corpus) in enumerate(choices):
        points = load_points(table, CurvePoint)
        for column, (family, (params, _)) in enumerate(_FAMILIES.items()):
            axes = panels[3 * row + column]
            chosen = [one for one in points if (one.corpus, one.family) == (corpus, family)]
            _curve_panel(axes, chosen, against_epochs)
            kind = "validation" if "validation" in table else "training"
            axes.set_title(f"{params / 1e9:.2g}B, {corpus.upper()}, {kind}")
            final = [point.loss for point in chosen]
            axes.set_ylim(min(final) - 0.05, float(np.quantile(final, 0.97)))
        panels[3 * row].set_ylabel(ylabel)
    panels[2].legend(title="epochs", fontsize=7, ncols=2)
    return figure


def curves_c4() -> Figure:
    """Figure 4."""
    return _curves([("curves_validation", "c4"), ("curves_training", "c4")], "nats per token")


def training_c4() -> Figure:
    """Figure 14."""
    return _curves([("curves_training", "c4")], "training loss, nats per token")


def validation() -> Figure:
    """Figure 15."""
    return _curves([("curves_validation", "c4"), ("curves_validation", "oscar")], _LOSS_LABEL)


def training_oscar() -> Figure:
    """Figure 16."""
    return _curves([("curves_training", "oscar")], "training loss, nats per token")


def validation_epochs() -> Figure:
    """Figure 17."""
    choices = [("curves_validation", "c4"), ("curves_validation", "oscar")]
    return _curves(choices, _LOSS_LABEL, against_epochs=True)


def data_return() -> Figure:
    """Figure 5."""
    theta = analysis.published_theta()
    figure, panels = _panels(1, 3, 3.8, 3.2)
    for axes, (family, (params, tokens)) in zip(panels, _FAMILIES.items(), strict=True):
        every = _finished(family)
        plain = np.array(["seed" not in name and "opt" not in name for name in every.names])
        chosen = every.subset(plain & (every.tokens == tokens) & (every.params == params))
        share = np.geomspace(chosen.unique_tokens.min() / tokens * 0.9, 1, 200)
        law = _predicted(laws.REPETITION, theta, params, tokens, tokens * share)
        single = chosen.loss[chosen.unique_tokens.argmax()]
        axes.plot(100 * share, law, "--", label="published law")
        axes.plot(100 * share, law + single - law[-1], ":", label="moved to the one-epoch run")
        measured = 100 * chosen.unique_tokens / tokens
        axes.plot(measured, chosen.loss, "ko", markersize=4, label="runs")
        axes.set_xscale("log")
        title = f"{params / 1e9:.2g}B, {tokens / 1e9:g}B tokens"
        axes.set(xlabel="unique tokens, % of all", title=title)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel(_LOSS_LABEL)
    panels[-1].legend()
    return figure


def own_isoloss(every: Runs) -> Figure:
    """Figure 3 of a user's runs, for each amount of unique tokens that has enough of them."""
    theta = fit.minima(fit.coordinates(laws.REPETITION), every)[0].theta
    amounts, counts = np.unique(every.unique_tokens, return_counts=True)
    chosen = amounts[counts >= _LEAST_RUNS]
    if not len(chosen):
        raise DataError(f"no amount of unique tokens has {_LEAST_RUNS} runs: there is no contour")
    return isoloss(list(chosen), laws.REPETITION, theta, every)


def own_return(every: Runs) -> Figure:
    """Figure 5 of a user's runs, for each size and number of tokens that has several amounts."""
    theta = fit.minima(fit.coordinates(laws.REPETITION), every)[0].theta
    pairs = np.stack([every.params, every.tokens], axis=1)
    groups, group_of, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    chosen = np.nonzero(counts >= 2)[0]
    if not len(chosen):
        raise DataError("no two runs share a size and a number of tokens: there is no curve")
    figure, panels = _panels(1, len(chosen), 3.8, 3.2)
    for axes, number in zip(panels, chosen, strict=True):
        runs = every.subset(group_of.reshape(-1) == number)
        params, tokens = groups[number]
        share = np.geomspace(runs.unique_tokens.min() / tokens * 0.9, 1, 200)
        losses = _predicted(laws.REPETITION, theta, params, tokens, tokens * share)
        axes.plot(100 * share, losses, label="law fitted to these runs")
        axes.plot(100 * runs.unique_tokens / tokens, runs.loss, "ko", markersize=4, label="runs")
        axes.set_xscale("log")
        axes.set(xlabel="unique tokens, % of all", title=f"{params:.3g} parameters")
    panels[0].set_ylabel(_LOSS_LABEL)
    panels[-1].legend()
    return figure


def strategies() -> Figure:
    """Figure 6."""
    labels = {
        "repeat": "repeat",
        "fill_python": "fill with Python",
        "perplexity_repeat": "filter by perplexity, repeat",
        "dedup_repeat": "deduplicate, repeat",
    }
    figure, (axes,) = _panels(1, 1, 5.4, 3.6)
    scores = load_points("strategies", StrategyScore)
    for number, (strategy, label) in enumerate(labels.items()):
        chosen = sorted(
            (one for one in scores if one.strategy == strategy), key=lambda one: one.data_budget_pct
        )
        budgets = [one.data_budget_pct for one in chosen]
        means = [one.average_19_tasks for one in chosen]
        errors = [one.std or 0 for one in chosen]
        axes.errorbar(
            budgets, means, errors, marker="osD^"[number], capsize=2, label=label, markersize=4
        )
    axes.set(xlabel="unique data, % of the budget of 84B tokens", ylabel="average of 19 tasks, %")
    axes.legend()
    return figure


def mup() -> Figure:
    """Figure 9."""
    points = load_points("mup", MupPoint)
    figure, (axes,) = _panels(1, 1)
    sizes = [point.params for point in points]
    axes.plot(sizes, [point.loss_sp for point in points], "o-", label="standard")
    axes.plot(sizes, [point.loss_mup for point in points], "s--", label="muP")
    axes.set_xscale("log")
    axes.set(xlabel="parameters", ylabel=_LOSS_LABEL)
    _in_billions(axes.xaxis)
    axes.legend()
    return figure


def double_descent() -> Figure:
    """Figure 10."""
    figure, (axes,) = _panels(1, 1, 5.0, 3.4)
    for marker, family in zip("osD", ("14m", "44m", "83m"), strict=True):
        chosen = _finished(family, 100e6)
        chosen = chosen.subset((chosen.epochs > 10) & (chosen.epochs < 9500))
        order = chosen.epochs.argsort()
        reference = chosen.loss[np.abs(chosen.epochs - 15).argmin()]
        axes.plot(
            chosen.epochs[order],
            chosen.loss[order] - reference,
            marker=marker,
            markersize=4,
            label=f"{chosen.params[0] / 1e6:.0f}M parameters",
        )
    axes.set_xscale("log")
    axes.set(xlabel="epochs over 100M tokens", ylabel="loss minus that after 15 epochs")
    axes.legend()
    return figure


def dedup() -> Figure:
    """Figure 11."""
    figure, (axes,) = _panels(1, 1)
    for plain, label, style in ((True, "C4", "o-"), (False, "C4, deduplicated", "s--")):
        chosen = _finished("146m", 100e6, plain=plain)
        order = chosen.tokens.argsort()
        axes.plot(chosen.tokens[order], chosen.loss[order], style, markersize=4, label=label)
    axes.set_xscale("log")
    axes.set(xlabel="training tokens", ylabel=_LOSS_LABEL)
    _in_billions(axes.xaxis)
    axes.legend()
    return figure


def galactica() -> Figure:
    """Figure 13."""
    theta = analysis.published_theta()
    unique, tokens = 106e9, 450e9
    sizes = np.geomspace(3e9, 3e11, 120)
    amounts = np.geomspace(1e11, 5e12, 120)
    losses = _predicted(laws.REPETITION, theta, sizes[:, None], amounts[None], unique)
    figure, (axes,) = _panels(1, 1, 5.2, 3.8)
    drawn = axes.contour(amounts, sizes, losses, levels=14, cmap="viridis_r", linewidths=1)
    axes.clabel(drawn, fontsize=7)
    budgets = np.geomspace(6 * sizes[0] * amounts[0], 6 * sizes[-1] * amounts[-1], 200)
    best = allocate.allocate(laws.REPETITION, theta, budgets, np.array(unique))
    axes.plot(best.tokens, best.params, color=COLORS[1], label="best use of each budget")
    label = "30B and 120B, 450B tokens"
    axes.plot([tokens, tokens], [30e9, 120e9], "ko", markersize=5, label=label)
    axes.set(xscale="log", yscale="log", xlabel="training tokens", ylabel="parameters")
    axes.set(xlim=(amounts[0], amounts[-1]), ylim=(sizes[0], sizes[-1]))
    axes.legend()
    return figure


def perplexity() -> Figure:
    """Figure 18."""
    bins = load_points("perplexity_histogram", HistogramBin)
    percentiles = load_points("perplexity_percentiles", Percentile)
    figure, panels = _panels(1, 2, 4.2, 3.0)
    for number, (axes, corpus) in enumerate(zip(panels, ("c4", "oscar"), strict=True)):
        chosen = [one for one in bins if one.corpus == corpus]
        edges = [one.bin_left for one in chosen] + [chosen[-1].bin_right]
        counts = [one.count for one in chosen]
        axes.stairs(counts, edges, fill=True, color=COLORS[number])
        for one in percentiles:
            if one.corpus == corpus:
                axes.axvline(one.perplexity, color="0.3", linestyle="--", linewidth=1)
                axes.text(one.perplexity, max(counts), f" {one.percentile}", rotation=90, va="top")
        axes.set(xlabel="perplexity", title=f"{corpus.upper()}, {sum(counts):,} documents")
        axes.set_xlim(0, 3000)
    panels[0].set_ylabel("documents")
    return figure


def code_mix() -> Figure:
    """Figure 19."""
    points = load_points("curves_c4py", MixPoint)
    figure, panels = _panels(1, 2, 4.4, 3.2)
    norm = Normalize(10, 90)
    colors = matplotlib.colormaps[_EPOCH_COLORS]
    for axes, dataset in zip(panels, _DATASETS, strict=True):
        for share in range(10, 100, 10):
            chosen = [one for one in points if one.validation_set == dataset]
            chosen = [one for one in chosen if one.python_pct == share]
            chosen.sort(key=lambda one: one.tokens)
            axes.plot(
                [one.tokens for one in chosen],
                [one.loss for one in chosen],
                color=colors(norm(share)),
                linewidth=1,
            )
        axes.set(xlabel="tokens", title=f"on {_DATASETS[dataset]}")
        _in_billions(axes.xaxis)
    panels[0].set_ylabel(_LOSS_LABEL)
    figure.colorbar(ScalarMappable(norm, colors), ax=panels, label="% Python")
    return figure


def filtering() -> Figure:
    """Figure 20."""
    points = load_points("curves_filter", FilterPoint)
    labels = {
        "repeat": "plain, repeated",
        "perplexity_repeat": "perplexity-filtered",
        "dedup_repeat": "deduplicated",
    }
    figure, panels = _panels(1, 2, 4.4, 3.2)
    for axes, kind in zip(panels, ("training", "validation"), strict=True):
        chosen = [one for one in points if one.loss_kind == kind]
        for number, run in enumerate(sorted({one.run for one in chosen})):
            curve = sorted((one for one in chosen if one.run == run), key=lambda one: one.tokens)
            label = f"{labels[curve[0].strategy]}, {curve[0].epochs:g} epochs"
            axes.plot(
                [one.tokens for one in curve],
                [one.loss for one in curve],
                ("-", "--", "-.", ":")[number],
                linewidth=1.2,
                label=label,
            )
        losses = [one.loss for one in chosen]
        axes.set_ylim(min(losses) - 0.03, float(np.quantile(losses, 0.95)))
        axes.set(xlabel="tokens", title=f"{kind} loss")
        _in_billions(axes.xaxis)
    panels[0].set_ylabel("nats per token")
    panels[1].legend()
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "compute-return": compute_return,
    "data-setup": data_setup,
    "isoloss-100m": isoloss_100m,
    "curves-c4": curves_c4,
    "return": data_return,
    "strategies": strategies,
    "isoloss-400m-1b5": isoloss_400m_1b5,
    "mup": mup,
    "double-descent": double_descent,
    "dedup": dedup,
    "isoloss-exponent": isoloss_exponent,
    "galactica": galactica,
    "training-c4": training_c4,
    "validation": validation,
    "training-oscar": training_oscar,
    "validation-epochs": validation_epochs,
    "perplexity": perplexity,
    "code-mix": code_mix,
    "filtering": filtering,
}

# of a user's own runs
OWN_FIGURES: dict[str, Callable[[Runs], Figure]] = {"isoloss": own_isoloss, "return": own_return}
