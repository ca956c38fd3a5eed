"""The runs that a law is fitted to: sizes, tokens, unique tokens and losses, from any CSV."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encore import data_file
from encore.errors import DataError
from encore.registry import paper_runs

Array = NDArray[Any]

# other tools' names of the columns, and those of registry/runs.csv
_COLUMNS = {
    "params": ("params", "parameters", "N"),
    "tokens": ("tokens", "D"),
    "unique_tokens": ("unique_tokens", "unique", "U"),
    "loss": ("loss", "validation_loss", "L"),
}
# no language model has fewer parameters, no corpus fewer tokens: what lies below is in other units
_LEAST_COUNT = 1000
# nats per token of guessing among all of a vocabulary of 10^13: larger is not such a loss
_GREATEST_LOSS = 30.0


@dataclass(frozen=True)
class Points:
    """Where a law is evaluated: parameters, tokens and unique tokens, as counts.

    One row [n] for all parameter vectors of a law, or a row for each of them [S, n].
    """

    params: Array
    tokens: Array
    unique_tokens: Array

    @property
    def epochs(self) -> Array:
        """How often each unique token was seen."""
        return self.tokens / self.unique_tokens

    @property
    def flops(self) -> Array:
        """Training compute, 6·N·D."""
        return 6 * self.params * self.tokens


@dataclass(frozen=True)
class Runs(Points):
    """Finished runs, one element each, with their losses in nats per token; none of it is NaN."""

    loss: Array
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, chosen: Array) -> "Runs":
        """The runs at these indices, or where this mask is true."""
        indices = np.arange(len(self))[chosen]
        names = tuple(self.names[index] for index in indices)
        return Runs(
            self.params[indices],
            self.tokens[indices],
            self.unique_tokens[indices],
            self.loss[indices],
            names,
        )


def of_paper() -> Runs:
    """The 182 runs that the paper's law was fitted to (registry/runs.csv, in_fit)."""
    known = [run for run in paper_runs.load_runs().values() if run.in_fit]
    return _runs(
        [
            (run.name, run.parameters, run.tokens, run.unique_tokens, run.loss or math.nan)
            for run in known
        ]
    )


def load(path: Path) -> Runs:
    """Runs of a CSV file with the columns params, tokens, unique_tokens, loss (and name, in_fit).

    Rows with an empty loss are unfinished runs, and rows with in_fit 0 are not for fits: both are
    left out. Raises DataError, with the line, on whatever cannot be such a run.
    """
    data_file.check(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            return _parse(path, csv.DictReader(handle, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None


def _parse(path: Path, reader: "csv.DictReader[str]") -> Runs:
    columns = _find_columns(path, reader.fieldnames or [])
    rows = []
    seen: dict[tuple[float, ...], int] = {}
    for row in reader:
        where = f"{path}:{reader.line_num}"
        if None in row or None in row.values():
            raise DataError(f"{where}: this row has not as many fields as the header")
        if row.get("in_fit") == "0" or not row[columns["loss"]].strip():
            continue
        values = {}
        for field, column in columns.items():
            values[field] = _number(where, column, row[column])
        _check(where, values)
        key = (values["params"], values["tokens"], values["unique_tokens"], values["loss"])
        if key in seen:
            raise DataError(
                f"{where}: the same run and loss as line {seen[key]}",
                "remove one: a run that stands twice counts twice",
            )
        seen[key] = reader.line_num
        rows.append((row.get("name") or f"line {reader.line_num}", *key))
    if not rows:
        raise DataError(f"{path}: no finished run", "each row needs params, tokens and a loss")
    return _runs(rows)


def _find_columns(path: Path, header: "list[str] | tuple[str, ...] | object") -> dict[str, str]:
    names = list(header) if isinstance(header, list | tuple) else []
    columns = {}
    for field, choices in _COLUMNS.items():
        present = [name for name in choices if name in names]
        if not present:
            raise DataError(
                f"{path}: no column {field!r}; it has {', '.join(names) or 'no header'}",
                f"name it one of {', '.join(choices)}",
            )
        columns[field] = present[0]
    return columns


def _number(where: str, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise DataError(f"{where}: {column} is {text!r}, not a number above 0")
    return value


def _check(where: str, values: dict[str, float]) -> None:
    for field in ("params", "tokens", "unique_tokens"):
        value = values[field]
        if value < _LEAST_COUNT:
            raise DataError(
                f"{where}: {value:g} {field.replace('_', ' ')}",
                f"plain counts are needed; in billions it would be {value * 1e9:.6g}",
            )
    if values["unique_tokens"] > values["tokens"]:
        raise DataError(
            f"{where}: {values['unique_tokens']:g} unique tokens are more than the"
            f" {values['tokens']:g} tokens trained on",
            "unique_tokens counts what the run has seen at least once",
        )
    if values["loss"] > _GREATEST_LOSS:
        raise DataError(
            f"{where}: a loss of {values['loss']:g} is not in nats per token",
            "take the logarithm of a perplexity",
        )


def _runs(rows: list[tuple[str, float, float, float, float]]) -> Runs:
    names = tuple(row[0] for row in rows)
    params, tokens, unique, loss = np.array([row[1:] for row in rows], dtype=np.float64).T.copy()
    return Runs(params, tokens, unique, loss, names)


def described(runs: Runs) -> str:
    """One line: how many runs, and what they span."""
    return (
        f"{len(runs)} runs of {runs.params.min():.3g} to {runs.params.max():.3g} parameters,"
        f" {runs.epochs.min():.3g} to {runs.epochs.max():.4g} epochs,"
        f" losses {runs.loss.min():.3f} to {runs.loss.max():.3f}"
    )
