"""Tables hold every point, read back by others' readers."""

import csv
import io
import json
import math
from pathlib import Path

import pyarrow.parquet
import pytest
from encore.curves import event_runs, export_table
from encore.curves.event_runs import EventRun
from helpers.event_files import GENUINE, write_scalars

HOSTILE = 'a,"b"\nc </script>'


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[EventRun]:
    folder = tmp_path_factory.mktemp("hostile")
    scalars = [(1.5, 1, HOSTILE, 2.5), (2.5, 2, HOSTILE, math.nan), (3.5, 3, HOSTILE, math.inf)]
    write_scalars(folder / "events.out.tfevents.1.h", scalars)
    return [event_runs.read("tiny", GENUINE), event_runs.read(HOSTILE, folder)]


def expected(found: list[EventRun]) -> list[dict[str, object]]:
    return [
        dict(
            zip(
                ("run", "tag", "step", "samples", "tokens", "wall_time", "value"),
                (run.name, tag, *row),
                strict=True,
            )
        )
        for run in found
        for tag, curve in run.curves.items()
        for row in zip(*(column.tolist() for column in curve.columns()), strict=True)
    ]


def written(found: list[EventRun], ending: str) -> bytes:
    out = io.BytesIO()
    export_table.WRITERS[ending](export_table.of_runs(found), out)
    return out.getvalue()


def test_csv(found: list[EventRun]) -> None:
    rows = list(csv.DictReader(io.StringIO(written(found, ".csv").decode(), newline="")))
    read = [
        {
            key: text if key in ("run", "tag") else float(text) if text else None
            for key, text in row.items()
        }
        for row in rows
    ]
    assert repr(read) == repr(
        [
            {k: float(v) if isinstance(v, int) else v for k, v in row.items()}
            for row in expected(found)
        ]
    )
    assert rows[-3]["tag"] == HOSTILE and rows[-2]["value"] == "nan" and rows[-1]["tokens"] == ""


def test_parquet(found: list[EventRun], tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(written(found, ".parquet"))
    assert repr(pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()) == repr(
        expected(found)
    )


def test_jsonl(found: list[EventRun]) -> None:
    rows = [json.loads(line) for line in written(found, ".jsonl").decode().splitlines()]
    wanted = [
        row | {"value": row["value"] if math.isfinite(row["value"]) else None}  # type: ignore[arg-type]
        for row in expected(found)
    ]
    assert rows == wanted


@pytest.mark.parametrize("ending", export_table.WRITERS)
def test_the_same_runs_are_the_same_bytes(found: list[EventRun], ending: str) -> None:
    assert written(found, ending) == written(found, ending)
