"""Strict CSV: a table becomes frozen dataclasses, or one error naming the file, line and column.

The header names the record's fields, in their order. An empty cell is None where the field may be
None, and "" where it is text; a flag is 0 or 1. Raises RegistryError.
"""

import csv
import dataclasses
import math
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from encore.errors import RegistryError

Record = TypeVar("Record")

_KINDS = {int: "a whole number", float: "a number", bool: "0 or 1"}


@dataclasses.dataclass(frozen=True)
class _Row:
    """A line's cells; where: FILE:LINE."""

    cells: list[str]
    where: str


def load(path: Path, record: type[Record]) -> dict[str, Record]:
    """Read `path` as one `record` per row, by its first column, which may not repeat."""
    records: dict[str, Record] = {}
    columns = _column_types(record)
    for row in _rows(path, columns):
        entry = _build(row, record, columns)
        key = row.cells[0]
        if key in records:
            raise _repeated(row)
        records[key] = entry
    return records


def rows(path: Path, record: type[Record]) -> list[Record]:
    """Read `path` as one `record` per row; the first column may repeat, a whole row may not."""
    records: dict[tuple[str, ...], Record] = {}
    columns = _column_types(record)
    for row in _rows(path, columns):
        entry = _build(row, record, columns)
        key = tuple(row.cells)
        if key in records:
            raise _repeated(row)
        records[key] = entry
    return list(records.values())


def _repeated(row: _Row) -> RegistryError:
    return RegistryError(f"{row.where}: {row.cells[0]!r} occurs twice", "delete one of them")


def _rows(path: Path, columns: dict[str, Any]) -> Iterator[_Row]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            # strict: a quote in the middle of a cell, or one that is never closed, is an error
            reader = csv.reader(stream, strict=True)
            try:
                _check_header(path, next(reader, []), list(columns))
                for cells in reader:
                    yield _Row(cells, f"{path}:{reader.line_num}")
            except csv.Error as error:
                raise RegistryError(
                    f"{path}:{reader.line_num}: not valid CSV: {error}", "fix that line"
                ) from None
    except FileNotFoundError:
        raise RegistryError(f"{path}: no such file", f"see what is in {path.parent}") from None
    except UnicodeDecodeError as error:
        raise RegistryError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start})", "save it as UTF-8"
        ) from None


def _check_header(path: Path, header: list[str], columns: list[str]) -> None:
    if header != columns:
        raise RegistryError(
            f"{path}:1: the columns are {', '.join(header)}", f"they must be {', '.join(columns)}"
        )


def _column_types(record: type[Any]) -> dict[str, Any]:
    """The record's fields in order, with the type of each."""
    hints = typing.get_type_hints(record)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


def _build(row: _Row, record: type[Record], columns: dict[str, Any]) -> Record:
    if len(row.cells) != len(columns):
        raise RegistryError(
            f"{row.where}: {len(row.cells)} cells, not {len(columns)}",
            f"the columns are {', '.join(columns)}",
        )
    values = []
    for cell, (name, kind) in zip(row.cells, columns.items(), strict=True):
        values.append(_value(cell, kind, f"{row.where}: {name}"))
    return record(*values)


def _value(cell: str, kind: Any, where: str) -> Any:
    alternatives = typing.get_args(kind)
    if alternatives:  # X | None
        if not cell:
            return None
        kind = alternatives[0]
    try:
        if kind is bool:
            # bool("0") would be true
            return {"0": False, "1": True}[cell]
        value = kind(cell)
        # float() reads nan and inf, which no fact is
        if kind is float and not math.isfinite(value):
            raise ValueError
    except (KeyError, ValueError):
        raise RegistryError(
            f"{where} must be {_KINDS[kind]}, not {cell!r}", "fix that cell"
        ) from None
    return value
