"""Strict CSV: a table becomes frozen dataclasses, or one error that names the file, the line and the column.

The header names the record's fields, in their order. An empty cell is None where the field allows it and "" where it
is text; a flag is 0 or 1. The first field is the key: it may not repeat, but where `rows` reads several records a key.
"""

import csv
import dataclasses
import math
import typing
from pathlib import Path
from typing import Any, TypeVar

from encore.errors import RegistryError

Record = TypeVar("Record")


def load(path: Path, record: type[Record]) -> dict[str, Record]:
    """Read `path` as one `record` per row, by its first column."""
    return {row[0]: made for row, made in _read(path, record, unique_cells=1)}


def rows(path: Path, record: type[Record]) -> list[Record]:
    """Read `path` as one `record` per row, where the first column may repeat but no two rows are equal."""
    return [made for _, made in _read(path, record, unique_cells=None)]


def _read(
    path: Path, record: type[Record], unique_cells: int | None
) -> list[tuple[list[str], Record]]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return _records(path, csv.reader(stream, strict=True), record, unique_cells)
    except FileNotFoundError:
        raise RegistryError(f"{path}: no such file", "check the path") from None
    except UnicodeDecodeError as error:
        raise RegistryError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start})", "save it as UTF-8"
        ) from None


def _records(
    path: Path, reader: Any, record: type[Record], unique_cells: int | None
) -> list[tuple[list[str], Record]]:
    hints = typing.get_type_hints(record)
    columns = [(column.name, hints[column.name]) for column in dataclasses.fields(record)]  # type: ignore[arg-type]
    names = [name for name, _ in columns]
    found: dict[tuple[str, ...], tuple[list[str], Record]] = {}
    try:
        header = next(reader, [])
        if header != names:
            raise RegistryError(
                f"{path}:1: the columns are {', '.join(header)}", f"they must be {', '.join(names)}"
            )
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if len(row) != len(columns):
                raise RegistryError(
                    f"{where}: {len(row)} cells, not {len(columns)}", "mend that line"
                )
            key = tuple(row[:unique_cells])
            if key in found:
                raise RegistryError(f"{where}: {row[0]!r} stands twice", "keep one of them")
            cells = zip(columns, row, strict=True)
            made = record(
                *(_cell(text, wanted, f"{where}: {name}") for (name, wanted), text in cells)
            )
            found[key] = (row, made)
    except csv.Error as error:
        raise RegistryError(
            f"{path}:{reader.line_num}: not valid CSV: {error}", "mend that line"
        ) from None
    return list(found.values())


def _cell(text: str, wanted: Any, where: str) -> Any:
    alternatives = typing.get_args(wanted)
    if alternatives:  # X | None
        if not text:
            return None
        wanted = alternatives[0]
    try:
        if wanted is bool:
            return {"0": False, "1": True}[text]
        value = wanted(text)
        if wanted is float and not math.isfinite(value):
            raise ValueError
        return value
    except (KeyError, ValueError):
        kind = {int: "a whole number", float: "a number", bool: "0 or 1"}[wanted]
        raise RegistryError(f"{where} must be {kind}, not {text!r}", "mend that cell") from None
