"""Streams of documents: the same from every format, bad ones named or counted, memory bounded."""

import gzip
import hashlib
import json
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from encore.corpus import documents
from encore.corpus.batches import Batch
from encore.corpus.documents import ReadOptions, stream
from encore.errors import DataError
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

TEXTS = [
    "one",
    "zwei\r\nlines",
    "三 \u2028 emoji 👩‍👩‍👧‍👦",
    '{"text": "no"}',
    " ",
    "\x00",
    "x" * 5000,
]
PLAIN = ReadOptions()
SKIP = ReadOptions(skip_bad=True)
BAD_LINES = [
    (b'{"text": "a"', "broken JSON", "Expecting ',' delimiter, column 13"),
    (b'{"text": "a"} {}', "broken JSON", "Extra data, column 15"),
    (b"[" * 100_000, "broken JSON", "recursion"),
    (b'{"text": "caf\xe9"}', "invalid UTF-8", "byte 14 of the line"),
    (b'{"text": "\\ud83d"}', "invalid UTF-8", "surrogates not allowed"),
    (b'["a"]', "not a JSON object", "list"),
    (b'{"content": "a", "id": 1}', "missing field", "'text' is not among 'content', 'id'"),
    (b'{"text": null}', "field is not a string", "NoneType"),
    (b'{"text": ["a"]}', "field is not a string", "list"),
    (b'{"text": ""}', "empty document", ""),
]


def jsonl(path: Path, texts: list[Any], field: str = "text") -> Path:
    path.write_bytes(
        b"".join(
            json.dumps({"id": i, field: text}).encode() + b"\n" for i, text in enumerate(texts)
        )
    )
    return path


def texts_of(path: Path | str, reading: ReadOptions = PLAIN) -> list[str]:
    return [text.decode() for batch in stream([str(path)], reading) for text in batch.texts]


def last(*paths: Path, reading: ReadOptions = PLAIN) -> Batch:
    return list(stream([str(path) for path in paths], reading))[-1]


def test_every_format_gives_the_same_documents(tmp_path: Path) -> None:
    plain = jsonl(tmp_path / "a.jsonl", TEXTS).read_bytes()
    half = plain.index(b"\n", len(plain) // 20) + 1
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain[:half]) + gzip.compress(plain[half:]))
    (tmp_path / "a.jsonl.zst").write_bytes(
        zstandard.compress(plain[:half]) + zstandard.compress(plain[half:])
    )
    (tmp_path / "a name without suffix").write_bytes(gzip.compress(plain))
    for kind in (
        pa.string(),
        pa.large_string(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ):
        column = pa.array([text.encode() for text in TEXTS] if kind == pa.binary() else TEXTS, kind)
        pq.write_table(
            pa.table({"id": range(len(TEXTS)), "text": column}), tmp_path / f"{kind.id}.parquet"
        )
    folder = tmp_path / "dataset"
    folder.mkdir()
    jsonl(folder / "train.jsonl", TEXTS)
    for path in tmp_path.iterdir():
        assert texts_of(path) == TEXTS, path


@examples(60)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50), max_size=20
    ),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]),
    st.booleans(),
    st.integers(1, 200),
)
def test_any_text_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], end: str, ended: bool, block: int
) -> None:
    path = tmp_path_factory.mktemp("documents") / "x.jsonl"
    lines = end.join(json.dumps({"text": text}, ensure_ascii=len(text) % 2 == 0) for text in texts)
    path.write_bytes((lines + end * ended).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "BLOCK_BYTES", block)
        assert texts_of(path) == texts


def test_lines_are_what_megatrons_tool_accepts(tmp_path: Path) -> None:
    lines = (
        b'{"text": "a", "x": NaN}',
        b'{"text": "b", "text": "c"}',
        b'\t {"text" : "d", "n": 123456789012345678901} ',
    )
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    assert texts_of(tmp_path / "x.jsonl") == ["a", "c", "d"]


@pytest.mark.parametrize(("line", "reason", "found"), BAD_LINES, ids=lambda value: str(value)[:24])
def test_a_bad_line_is_refused_by_file_and_line(
    tmp_path: Path, line: bytes, reason: str, found: str
) -> None:
    path = tmp_path / "bad file.jsonl"
    path.write_bytes(b'{"text": "good"}\n\n' + line + b'\n{"text": "more"}\n')
    given = stream([str(path)], PLAIN)
    assert next(given).texts == [b"good"]
    with pytest.raises(DataError) as error:
        list(given)
    message = str(error.value)
    assert message.startswith(f"{path}:3: {reason}")
    assert found in message
    assert "\n" not in message
    assert "--on-error skip" in error.value.hint


def test_bad_lines_are_skipped_and_counted_by_reason(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(
        b"".join(b'{"text": "%d"}\n%s\n' % (i, line) for i, (line, _, _) in enumerate(BAD_LINES))
    )
    batches = list(stream([str(path)], SKIP))
    assert [text for batch in batches for text in batch.texts] == [
        b"%d" % i for i in range(len(BAD_LINES))
    ]
    reasons = Counter(reason for batch in batches for _, reason in batch.skipped)
    assert reasons == Counter(reason for _, reason, _ in BAD_LINES)


def test_a_bad_line_beyond_what_is_asked_for_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "b"}\nbroken\n')
    assert texts_of(path, ReadOptions(samples=2)) == ["a", "b"]
    batch = last(path, reading=ReadOptions(samples=2, skip_bad=True))
    assert batch.skipped == []
    with pytest.raises(DataError, match=r"x\.jsonl:3: broken JSON"):
        texts_of(path, ReadOptions(samples=3))


@examples(60)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30), st.integers(1, 30), st.integers(1, 400)
)
def test_a_smaller_amount_is_a_prefix_that_ends_with_the_document_that_reaches_it(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], samples: int, amount: int
) -> None:
    path = jsonl(tmp_path_factory.mktemp("documents") / "x.jsonl", ["x" * size for size in sizes])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "BLOCK_BYTES", 100)
        if samples > len(sizes):
            with pytest.raises(
                DataError, match=f"has {len(sizes)} documents, fewer than the {samples} "
            ):
                texts_of(path, ReadOptions(samples=samples))
        else:
            assert [len(text) for text in texts_of(path, ReadOptions(samples=samples))] == sizes[
                :samples
            ]
        if amount > sum(sizes):
            with pytest.raises(
                DataError, match=f"has {sum(sizes)} bytes, fewer than the {amount} asked"
            ):
                texts_of(path, ReadOptions(bytes=amount))
        else:
            taken = [len(text) for text in texts_of(path, ReadOptions(bytes=amount))]
            assert taken == sizes[: len(taken)]
            assert sum(taken) >= amount > sum(taken[:-1])


def test_an_amount_is_of_all_inputs_together(tmp_path: Path) -> None:
    a, b = jsonl(tmp_path / "a", ["1", "2"]), jsonl(tmp_path / "b", ["3", "4"])
    batches = list(stream([str(a), str(b)], ReadOptions(samples=3)))
    assert b"".join(text for batch in batches for text in batch.texts) == b"123"


def test_the_digest_is_of_the_file_as_stored(tmp_path: Path) -> None:
    plain = jsonl(tmp_path / "a.jsonl", TEXTS)
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": TEXTS}), table)
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    for path in (plain, packed, table, empty):
        source = last(path).source
        assert source.name == str(path)
        assert source.bytes == source.hashed_bytes == path.stat().st_size
        assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_digest_of_a_partly_read_file_says_how_much_it_covers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 1000)
    path = jsonl(tmp_path / "x.jsonl", ["x" * 100] * 100)
    source = last(path, reading=ReadOptions(samples=5)).source
    assert source.bytes == path.stat().st_size
    assert source.hashed_bytes == 1000
    assert source.sha256 == hashlib.sha256(path.read_bytes()[:1000]).hexdigest()


def test_a_file_given_twice_is_read_and_reported_twice(tmp_path: Path) -> None:
    path = str(jsonl(tmp_path / "x.jsonl", ["a"]))
    batches = list(stream([path, path], PLAIN))
    assert [text for batch in batches for text in batch.texts] == [b"a", b"a"]
    assert {batch.input_index for batch in batches} == {0, 1}


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("cut", [5, 50, -1])
def test_a_truncated_archive_is_refused(tmp_path: Path, pack: Any, cut: int) -> None:
    path = tmp_path / "x.jsonl.packed"
    path.write_bytes(
        pack(jsonl(tmp_path / "x.jsonl", [f"{i}" for i in range(1000)]).read_bytes())[:cut]
    )
    with pytest.raises(DataError, match=r"x\.jsonl\.packed is corrupt or truncated"):
        texts_of(path, SKIP)


def test_a_corrupt_archive_is_refused(tmp_path: Path) -> None:
    packed = bytearray(
        gzip.compress(jsonl(tmp_path / "x.jsonl", [f"{i}" for i in range(1000)]).read_bytes())
    )
    packed[len(packed) // 2] ^= 0xFF
    (tmp_path / "x.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"x\.gz is corrupt"):
        texts_of(tmp_path / "x.gz", SKIP)


def test_bad_rows_of_parquet_are_named_by_row(tmp_path: Path) -> None:
    raw = pa.array([b"good", b"caf\xe9", b"", None, b"more"], pa.binary())
    column = pa.Array.from_buffers(
        pa.string(), len(raw), raw.buffers(), raw.null_count
    )  # unchecked, as files are
    pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet:2: invalid UTF-8"):
        texts_of(tmp_path / "x.parquet")
    assert texts_of(tmp_path / "x.parquet", SKIP) == ["good", "more"]
    reasons = [
        reason
        for batch in stream([str(tmp_path / "x.parquet")], SKIP)
        for _, reason in batch.skipped
    ]
    assert reasons == ["invalid UTF-8", "empty document", "field is not a string"]


def test_a_parquet_file_without_the_field_lists_what_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"content": ["a"], "n": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"has no field 'text'; it has content, n"):
        texts_of(tmp_path / "x.parquet", SKIP)
    assert texts_of(tmp_path / "x.parquet", ReadOptions(field="content")) == ["a"]
    with pytest.raises(DataError, match=r"x\.parquet:1: field is not a string: int"):
        texts_of(tmp_path / "x.parquet", ReadOptions(field="n"))


@pytest.mark.parametrize("keep", [4, 20, -10])
def test_a_torn_parquet_file_is_refused(tmp_path: Path, keep: int) -> None:
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"x\.parquet is corrupt"):
        texts_of(tmp_path / "x.parquet", SKIP)


@pytest.mark.parametrize(
    "name", ["missing.jsonl", "/no/such/path", "data/x.parquet", "what is this"]
)
def test_an_input_that_does_not_exist_is_named(name: str) -> None:
    with pytest.raises(DataError, match=f"{name} is neither a file or folder nor a dataset's name"):
        texts_of(name)


def test_a_script_in_a_dataset_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    jsonl(folder / "train.jsonl", TEXTS)
    with pytest.raises(DataError, match=r"evil: .*scripts are no longer supported"):
        texts_of(folder)
    assert not (tmp_path / "was_run").exists()


def test_a_dataset_counts_and_hashes_its_texts(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", ["a", "", "bc"])
    jsonl(tmp_path / "test.jsonl", ["z"])
    with pytest.raises(DataError, match=":2: empty document"):
        texts_of(tmp_path)
    batch = last(tmp_path, reading=SKIP)
    assert (batch.texts, batch.skipped) == ([b"a", b"bc"], [(1, "empty document")])
    assert (batch.source.bytes, batch.source.hashed_bytes) == (None, 3)
    assert batch.source.sha256 == hashlib.sha256(b"abc").hexdigest()
    assert texts_of(tmp_path, ReadOptions(split="test")) == ["z"]
    with pytest.raises(DataError, match="has no field 'content'; it has id, text"):
        texts_of(tmp_path, ReadOptions(field="content"))
    with pytest.raises(DataError, match=f"{tmp_path}: "):
        texts_of(tmp_path, ReadOptions(split="no_such_split"))


@pytest.mark.slow
def test_a_dataset_that_cannot_be_found_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "from encore.corpus.documents import *; list(stream(['nobody/nothing:en'], ReadOptions()))"
    )
    environment = {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": "tools",
        "PATH": "",
    }
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True
    )
    assert ended.stderr.splitlines()[-1].startswith("encore.errors.DataError: nobody/nothing:en: ")


def test_memory_does_not_grow_with_the_input(tmp_path: Path) -> None:
    line = json.dumps({"text": "word " * 400}).encode() + b"\n"
    with gzip.open(tmp_path / "x.jsonl.gz", "wb", compresslevel=1) as out:
        for _ in range(40):
            out.write(line * 1000)
    tracemalloc.start()
    try:
        count = sum(len(batch.texts) for batch in stream([str(tmp_path / "x.jsonl.gz")], PLAIN))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 40_000
    assert peak < 12 * documents.BLOCK_BYTES < 40_000 * len(line) / 6
