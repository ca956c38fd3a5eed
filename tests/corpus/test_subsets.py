"""Subsets as files: what `head` and `tail` give, byte for byte; nothing when something is wrong."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from encore.corpus import documents, subsets
from encore.corpus.documents import ReadOptions, stream
from encore.errors import DataError, UsageError
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

LINES = [b'{"text": "%d \xe4\xb8\x89",  "n": %d}\n' % (i, i) for i in range(50)]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 200)
    (tmp_path / "corpus.jsonl").write_bytes(b"".join(LINES))
    return tmp_path / "corpus.jsonl"


def head(corpus: Path, target: Path, **limits: Any) -> bytes:
    subsets.write([str(corpus)], target, "text", stream([str(corpus)], ReadOptions(**limits)))
    return target.read_bytes()


def tail(corpus: Path, target: Path, count: int, skip_bad: bool = False) -> bytes:
    reading = ReadOptions(skip_bad=skip_bad)
    subsets.write(
        [str(corpus)], target, "text", subsets.tail(lambda: stream([str(corpus)], reading), count)
    )
    return target.read_bytes()


@pytest.mark.parametrize("count", [1, 7, 49, 50])
def test_head_and_tail_are_those_of_the_shell(corpus: Path, tmp_path: Path, count: int) -> None:
    assert head(corpus, tmp_path / "head", samples=count) == b"".join(LINES[:count])
    assert tail(corpus, tmp_path / "tail", count) == b"".join(LINES[-count:])


@examples(30)
@given(st.integers(1, 290), st.integers(1, 290))
def test_fewer_bytes_are_a_prefix_of_more(
    tmp_path_factory: pytest.TempPathFactory, one: int, other: int
) -> None:
    folder = tmp_path_factory.mktemp("subsets")
    (folder / "corpus").write_bytes(b"".join(LINES))
    less, more = sorted((one, other))
    assert head(folder / "corpus", folder / "more", bytes=more).startswith(
        head(folder / "corpus", folder / "less", bytes=less)
    )


def test_tokens_are_counted_to_the_document_that_reaches_them(corpus: Path, tmp_path: Path) -> None:
    def count_tokens(texts: list[bytes]) -> list[int]:
        return [3] * len(texts)

    for tokens, count in ((1, 1), (3, 1), (4, 2), (149, 50), (150, 50)):
        batches = subsets.head_of_tokens(stream([str(corpus)], ReadOptions()), tokens, count_tokens)
        assert subsets.write([str(corpus)], tmp_path / "x", "text", batches)["documents"] == count
        assert (tmp_path / "x").read_bytes() == b"".join(LINES[:count])


def test_the_papers_own_counts_of_samples() -> None:
    assert (
        subsets.samples(1_900_000_000, 478.625834583) == 3_969_698
    )  # head -n, README of datablations
    assert subsets.samples(1_900_000_000, 1312.0951072) == 1_448_066
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="tokens per sample cannot be"):
            subsets.samples(1, wrong)


def test_lines_stay_as_they_are_but_end_as_lines(corpus: Path, tmp_path: Path) -> None:
    corpus.write_bytes(b'{ "text":"\\u00e9","x":NaN }\r\n\n{"text": "last"}')
    assert head(corpus, tmp_path / "x") == b'{ "text":"\\u00e9","x":NaN }\r\n{"text": "last"}\n'


def test_rows_become_lines(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a\n", "三"], "n": [1, 2]}), tmp_path / "x.parquet")
    written = head(tmp_path / "x.parquet", tmp_path / "x.jsonl")
    assert [json.loads(line) for line in written.splitlines()] == [{"text": "a\n"}, {"text": "三"}]


def test_the_outputs_extension_says_how_it_is_compressed(corpus: Path, tmp_path: Path) -> None:
    assert gzip.decompress(head(corpus, tmp_path / "x.jsonl.gz", samples=9)) == b"".join(LINES[:9])
    frames = head(corpus, tmp_path / "x.jsonl.zst", samples=9)
    assert zstandard.ZstdDecompressor().stream_reader(frames).read() == b"".join(LINES[:9])
    again = head(corpus, tmp_path / "again.jsonl.gz", samples=9)
    assert again == (tmp_path / "x.jsonl.gz").read_bytes(), "no time stamp"


def test_what_is_left_out_is_counted_and_not_written(corpus: Path, tmp_path: Path) -> None:
    corpus.write_bytes(
        b'{"text": ""}\n' + LINES[0] + b"broken\n" + LINES[1] + b'{"text": ""}\n' + LINES[2]
    )
    done = subsets.write(
        ["x"], tmp_path / "x", "text", stream([str(corpus)], ReadOptions(skip_bad=True))
    )
    assert done == {
        "output": str(tmp_path / "x"),
        "documents": 3,
        "skipped": {"empty document": 2, "broken JSON": 1},
    }
    assert (tmp_path / "x").read_bytes() == b"".join(LINES[:3])
    assert tail(corpus, tmp_path / "tail", 2, skip_bad=True) == b"".join(LINES[1:3])


def test_a_failure_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    corpus.write_bytes(b"".join(LINES) + b"broken\n")
    for limits in ({}, {"samples": 51}):
        with pytest.raises(DataError, match=r"corpus\.jsonl:51: broken JSON"):
            head(corpus, tmp_path / "x", **limits)
    with pytest.raises(DataError, match="the input has 50 documents, fewer than the 51 asked for"):
        tail(corpus, tmp_path / "x", 51, skip_bad=True)
    with pytest.raises(UsageError, match="the last 0 documents cannot be taken"):
        tail(corpus, tmp_path / "x", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_an_input_is_never_overwritten(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(corpus)
    for target in (corpus, tmp_path / "link"):
        with pytest.raises(UsageError, match="is an input and would be overwritten"):
            head(corpus, target, samples=1)
    assert corpus.read_bytes() == b"".join(LINES)
