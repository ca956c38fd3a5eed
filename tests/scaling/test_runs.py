"""Runs from CSV: what is read, and one line for what cannot be a run."""

from pathlib import Path

import pytest
from encore import kit
from encore.errors import DataError
from encore.scaling import runs

HEADER = "name,params,tokens,unique_tokens,loss\n"
GOOD = "a,1e8,2e9,1e9,3.1\n"


def load(folder: Path, text: str) -> runs.Runs:
    path = folder / "runs.csv"
    path.write_text(text, encoding="utf-8")
    return runs.load(path)


def test_the_kits_own_table_is_read_as_any_other() -> None:
    table = runs.load(kit.ROOT / "registry" / "runs.csv")
    paper = runs.of_paper()
    assert table.names == paper.names and (table.loss == paper.loss).all()


def test_a_byte_order_mark_and_unfinished_runs_are_no_trouble(tmp_path: Path) -> None:
    table = load(tmp_path, "\ufeff" + HEADER + GOOD + "b,1e8,4e9,1e9,\n")
    assert table.names == ("a",) and table.epochs[0] == 2


@pytest.mark.parametrize(
    "text,said",
    [
        ("", "no column 'params'"),
        ("params,tokens,loss\n1,2,3\n", "no column 'unique_tokens'"),
        (HEADER, "no finished run"),
        (HEADER + "a,1e8,2e9,1e9\n", "runs.csv:2: this row has not as many fields"),
        (HEADER + "a,1e8,2e9,1e9,3,4\n", "runs.csv:2: this row has not as many fields"),
        (HEADER + "a,1e8,2e9,1e9,nan\n", "runs.csv:2: loss is 'nan', not a number above 0"),
        (HEADER + "a,1e8,2e9,1e9,0\n", "loss is '0'"),
        (HEADER + "a,1e8,2e9,1e9,-2\n", "loss is '-2'"),
        (HEADER + "a,1e8,inf,1e9,2\n", "tokens is 'inf'"),
        (HEADER + "a,many,2e9,1e9,2\n", "params is 'many'"),
        (HEADER + "a,0.146,2e9,1e9,2\n", "0.146 params"),
        (HEADER + "a,1e8,14,1e9,2\n", "14 tokens"),
        (HEADER + "a,1e8,1e9,2e9,3\n", "more than the 1e+09 tokens trained on"),
        (HEADER + "a,1e8,2e9,1e9,42\n", "not in nats per token"),
        (HEADER + GOOD + GOOD, "runs.csv:3: the same run and loss as line 2"),
        (HEADER + '"a,1e8\n', "is not a CSV file"),
    ],
)
def test_what_is_no_run_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError) as raised:
        load(tmp_path, text)
    assert said in str(raised.value)


def test_billions_are_refused_with_the_likely_count(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        load(tmp_path, HEADER + "a,8.7,178e9,25e9,2.3\n")
    assert "8.7e+09" in raised.value.hint


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_bytes(b"\xff\xfe\x00params")
    with pytest.raises(DataError, match="is not a CSV file in UTF-8"):
        runs.load(path)
