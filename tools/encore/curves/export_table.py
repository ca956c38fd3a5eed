"""Curves as one tidy table, a row per point: CSV, Parquet or JSONL.

Columns: run, tag, step, samples, tokens (whole numbers, null where unknown), wall_time (seconds
since the epoch), value. In CSV, null is empty; in JSONL, a value that is not finite is null, as
JSON has no number for it.
"""

from collections.abc import Callable, Sequence
from typing import BinaryIO

import orjson
import pyarrow as pa
from pyarrow import csv, parquet

from encore.curves.curve import Curve
from encore.curves.event_runs import EventRun

_NUMBERS = [
    ("step", pa.int64()),
    ("samples", pa.int64()),
    ("tokens", pa.int64()),
    ("wall_time", pa.float64()),
    ("value", pa.float64()),
]
# in memory, a name is held once, not once per row
_NAME = pa.dictionary(pa.int32(), pa.string())
_IN_MEMORY = pa.schema([("run", _NAME), ("tag", _NAME), *_NUMBERS])
_PLAIN = pa.schema([("run", pa.string()), ("tag", pa.string()), *_NUMBERS])
_BATCH_ROWS = 1 << 16


def of_runs(runs: Sequence[EventRun]) -> pa.Table:
    """The table of all points, by run, tag and place along the run."""
    tables = []
    for run in runs:
        for tag, curve in run.curves.items():
            tables.append(_of_curve(run.name, tag, curve))
    return pa.concat_tables(tables).unify_dictionaries()


def _of_curve(run: str, tag: str, curve: Curve) -> pa.Table:
    zeros = pa.repeat(pa.scalar(0, pa.int32()), len(curve))
    columns = [
        pa.DictionaryArray.from_arrays(zeros, [run]),
        pa.DictionaryArray.from_arrays(zeros, [tag]),
    ]
    columns += map(pa.array, curve.columns())
    return pa.Table.from_arrays(columns, schema=_IN_MEMORY)


def write_csv(table: pa.Table, out: BinaryIO) -> None:
    """CSV with a header, quotes where a name needs them."""
    options = csv.WriteOptions(quoting_style="needed")
    with csv.CSVWriter(out, _PLAIN, write_options=options) as writer:
        # a batch at a time: names never lie in memory once per row of the whole table
        for batch in table.to_batches(_BATCH_ROWS):
            writer.write_batch(batch.cast(_PLAIN))


def write_parquet(table: pa.Table, out: BinaryIO) -> None:
    """Parquet, compressed with zstd."""
    parquet.write_table(table, out, compression="zstd")


def write_jsonl(table: pa.Table, out: BinaryIO) -> None:
    """A JSON object per line."""
    for batch in table.to_batches(_BATCH_ROWS):
        for row in batch.to_pylist():
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


WRITERS: dict[str, Callable[[pa.Table, BinaryIO], None]] = {
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".jsonl": write_jsonl,
}
