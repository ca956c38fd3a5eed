"""Curves as one tidy table, a row per point: CSV, Parquet or JSONL.

Columns: run, tag, step, samples, tokens (whole numbers; null, in CSV empty, where unknown), wall_time (seconds since
the epoch), value (null in JSONL where it is not a finite number, for JSON has no other; nan and inf in the others).
"""

from collections.abc import Callable, Sequence
from typing import BinaryIO

import orjson
import pyarrow as pa
from pyarrow import csv, parquet

from encore.curves.event_runs import Run

_TEXT = pa.dictionary(pa.int32(), pa.string())  # a name is held once, not once per row
_NUMBERS = [("step", pa.int64()), ("samples", pa.int64()), ("tokens", pa.int64())]
_NUMBERS += [("wall_time", pa.float64()), ("value", pa.float64())]
_HELD = pa.schema([("run", _TEXT), ("tag", _TEXT), *_NUMBERS])
_PLAIN = pa.schema([("run", pa.string()), ("tag", pa.string()), *_NUMBERS])
_ROWS = 1 << 16


def of_runs(runs: Sequence[Run]) -> pa.Table:
    """The table of all points, by run, tag and place along the run."""
    pieces = []
    for run in runs:
        for tag, curve in run.curves.items():
            names = [
                pa.DictionaryArray.from_arrays(
                    pa.repeat(pa.scalar(0, pa.int32()), len(curve)), [name]
                )
                for name in (run.name, tag)
            ]
            pieces.append(
                pa.Table.from_arrays([*names, *map(pa.array, curve.columns())], schema=_HELD)
            )
    return pa.concat_tables(pieces).unify_dictionaries()


def write_csv(table: pa.Table, out: BinaryIO) -> None:
    """CSV with a header, quotes where a name needs them."""
    options = csv.WriteOptions(quoting_style="needed")
    with csv.CSVWriter(out, _PLAIN, write_options=options) as writer:
        for batch in table.to_batches(_ROWS):
            writer.write_batch(batch.cast(_PLAIN))


def write_parquet(table: pa.Table, out: BinaryIO) -> None:
    """Parquet, compressed with zstd."""
    parquet.write_table(table, out, compression="zstd")


def write_jsonl(table: pa.Table, out: BinaryIO) -> None:
    """A JSON object per line."""
    for batch in table.to_batches(_ROWS):
        out.write(
            b"".join(
                orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in batch.to_pylist()
            )
        )


WRITERS: dict[str, Callable[[pa.Table, BinaryIO], None]] = {
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".jsonl": write_jsonl,
}
