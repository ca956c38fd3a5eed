"""Strict CSV: what a table of facts may say, and the one line that tells what is wrong with it."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest
from encore.errors import RegistryError
from encore.registry import strict_csv
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Row:
    name: str
    count: int
    loss: float | None
    seed: int | None
    final: bool
    note: str


HEADER = "name,count,loss,seed,final,note\n"


def read(tmp_path: Path, text: str | bytes) -> dict[str, Row]:
    path = tmp_path / "rows.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return strict_csv.load(path, Row)


def test_rows_become_records_by_their_first_column(tmp_path: Path) -> None:
    rows = read(tmp_path, HEADER + 'a,1,2.5,3,1,"x, y"\nb,2,,,0,\n')
    assert rows == {"a": Row("a", 1, 2.5, 3, True, "x, y"), "b": Row("b", 2, None, None, False, "")}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", ":1:", "the columns are"),
        (
            "name,count\n",
            ":1:",
            "the columns are name, count; they must be name, count, loss, seed, final, note",
        ),
        (HEADER.replace("count,loss", "loss,count"), ":1:", "the columns are"),
        (HEADER + "a,1,,,0,\nb,x,,,0,\n", ":3: count", "must be a whole number, not 'x'"),
        (HEADER + "a,1.0,,,0,\n", ":2: count", "must be a whole number, not '1.0'"),
        (HEADER + "a,,,,0,\n", ":2: count", "must be a whole number, not ''"),
        (HEADER + "a,1,nan,,0,\n", ":2: loss", "must be a number, not 'nan'"),
        (HEADER + "a,1,inf,,0,\n", ":2: loss", "must be a number, not 'inf'"),
        (HEADER + "a,1,,,yes,\n", ":2: final", "must be 0 or 1, not 'yes'"),
        (HEADER + "a,1,,,,\n", ":2: final", "must be 0 or 1, not ''"),
        (HEADER + "a,1,,,0\n", ":2:", "5 cells, not 6"),
        (HEADER + "a,1,,,0,,\n", ":2:", "7 cells, not 6"),
        (HEADER + "\n", ":2:", "0 cells, not 6"),
        (HEADER + "a,1,,,0,\na,1,,,0,\n", ":3:", "'a' occurs twice"),
        (HEADER + 'a,1,,,0,"open\n', ":2:", "not valid CSV"),
        (HEADER.encode() + b"a,1,,,0,\xff\n", ": ", "not UTF-8"),
    ],
)
def test_a_refusal_names_line_and_cause(
    tmp_path: Path, text: str | bytes, where: str, what: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        read(tmp_path, text)
    message = f"{caught.value}; {caught.value.hint}"
    assert f"rows.csv{where}" in message and what in message


def test_rows_may_share_a_key_but_not_be_equal(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(HEADER + "a,1,,,0,\na,2,,,0,\n")
    assert [row.count for row in strict_csv.rows(path, Row)] == [1, 2]
    path.write_text(HEADER + "a,1,,,0,\nb,1,,,0,\na,1,,,0,\n")
    with pytest.raises(RegistryError, match=r"rows\.csv:4: 'a' occurs twice"):
        strict_csv.rows(path, Row)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"absent\.csv: no such file"):
        strict_csv.load(tmp_path / "absent.csv", Row)


line = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=20)


@given(
    st.dictionaries(
        line,
        st.tuples(
            st.integers(),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.integers(),
            st.booleans(),
            line,
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER.strip().split(","))
        for name, (count, loss, seed, final, note) in rows.items():
            writer.writerow([name, count, loss, seed, int(final), note])
    assert strict_csv.load(path, Row) == {name: Row(name, *values) for name, values in rows.items()}
