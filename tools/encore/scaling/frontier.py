"""Pictures of an allocation: the frontier of a budget, and loss against unique tokens."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encore.scaling.allocate import allocate
from encore.scaling.laws import Law
from encore.scaling.runs import Array

_POINTS = 120
_DRAWS = 200
_SPAN = (0.1, 1e4)  # of the budget, in units of what one pass over the data takes


def frontier(law: Law, theta: Array, draws: Array, unique_tokens: float) -> Figure:
    """Best epochs, and best parameters, against the compute budget."""
    one_pass = 6 * unique_tokens * _size_of_one_pass(law, theta, unique_tokens)
    flops = np.geomspace(_SPAN[0] * one_pass, _SPAN[1] * one_pass, _POINTS)
    best = allocate(law, theta, flops, np.array(unique_tokens))
    some = draws[:: max(1, len(draws) // _DRAWS)]
    columns = np.repeat(some, _POINTS, axis=0)
    spread = allocate(law, columns, np.tile(flops, len(some)), np.array(unique_tokens))
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, values, all_values, label in (
        (left, best.epochs, spread.epochs, "best number of epochs"),
        (right, best.params, spread.params, "best number of parameters"),
    ):
        low, high = np.percentile(all_values.reshape(len(some), _POINTS), [2.5, 97.5], axis=0)
        axes.fill_between(flops / one_pass, low, high, alpha=0.25, linewidth=0, label="95%")
        axes.plot(flops / one_pass, values, label="best fit")
        _finish(axes, label)
    return figure


def _size_of_one_pass(law: Law, theta: Array, unique_tokens: float) -> float:
    """The size that a budget of one pass over the data goes with: where repeating begins."""
    low, high = np.log(1e3), np.log(1e15)
    for _ in range(60):
        middle = 0.5 * (low + high)
        size = np.exp(middle)
        best = allocate(law, theta, np.array(6 * size * unique_tokens), np.array(unique_tokens))
        low, high = (middle, high) if best.params[0] > size else (low, middle)
    return float(np.exp(high))


def _finish(axes: Axes, label: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("budget, as a multiple K of that of one pass")
    axes.set_ylabel(label)
    axes.grid(color="0.92")
    axes.legend(frameon=False)
