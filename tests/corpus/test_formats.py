"""Files are called what they are, whatever their names, also where bad documents are skipped."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from encore.corpus import formats
from encore.corpus.documents import ReadOptions, stream
from encore.errors import DataError

LINES = b'{"text": "a"}\n{"text": "b"}\n'


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("x.jsonl")
        entry.size = len(LINES)
        archive.addfile(entry, io.BytesIO(LINES))
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("x.jsonl", LINES)
    return out.getvalue()


def arrow() -> bytes:
    table = pa.table({"text": ["a"]})
    out = pa.BufferOutputStream()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write(table)
    return out.getvalue().to_pybytes()


# what it is called, or a part of it, the bytes, and a word of what to do
OTHERS: dict[str, tuple[bytes, str]] = {
    "xz": (lzma.compress(LINES), "xz -dk"),
    "lzma": (lzma.compress(LINES, format=lzma.FORMAT_ALONE), "xz --format=lzma -dk"),
    "bzip2": (bz2.compress(LINES), "bzip2 -dk"),
    "zip": (zipped(), "unzip"),
    "tar": (tar(), "tar -xf"),
    "tar within gzip": (gzip.compress(tar()), "unpack it"),
    "gzip within gzip": (gzip.compress(gzip.compress(LINES)), "unpack it"),
    "Arrow": (arrow(), "convert it"),
    "UTF-16": (LINES.decode().encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
    "UTF-16 ": (LINES.decode().encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8"),
    "UTF-32": (LINES.decode().encode("utf-32"), "iconv -f UTF-32"),
    "a JSON array": (b'[{"text": "a"},\n{"text": "b"}]'.replace(b"\n", b" "), "jq -c '.[]'"),
    "CSV or other text": (b"id,text\n1,a\n", "convert it"),
    "other text": (b"It was a dark night.\n" * 99, "convert it"),
    "CSV": (b"id,text\n1,a\n", "convert it"),
    "binary data": (bytes(range(256)) * 99, "convert it"),
    "binary data ": (b"\x00" * 99, "convert it"),
}


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize("what", OTHERS)
def test_what_is_not_read_is_called_by_its_name(what: str, skip_bad: bool, tmp_path: Path) -> None:
    content, advice = OTHERS[what]
    path = tmp_path / ("x.csv" if what == "CSV" else "x.jsonl")
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        list(stream([str(path)], ReadOptions(skip_bad=skip_bad)))
    assert str(error.value).startswith(f"{path} is {what.strip()}, not jsonl")
    assert advice in error.value.hint


@pytest.mark.parametrize("text", [b'{\n  "text": "a"\n}\n', b"{" * 9, b'{"text"\n: "a"}\n'])
def test_json_that_is_not_an_object_a_line_is_said_of_the_file(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a b.json"
    path.write_bytes(text)
    with pytest.raises(DataError, match=r"none of its \d lines is a JSON object") as error:
        list(stream([str(path)], ReadOptions(skip_bad=True)))
    assert error.value.hint == f"write one object a line: jq -c . '{path}'"


def test_a_file_that_is_no_corpus_is_refused_before_another_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.jsonl").write_bytes(lzma.compress(LINES))
    inputs = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    with pytest.raises(DataError, match=r"b\.jsonl is xz"):
        next(stream(inputs, ReadOptions()))


def test_an_object_anywhere_among_the_first_lines_makes_it_jsonl(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\n \nheading\n" + LINES)
    batches = list(stream([str(tmp_path / "x")], ReadOptions(skip_bad=True)))
    assert [text for batch in batches for text in batch.texts] == [b"a", b"b"]


def test_a_large_file_without_lines_is_not_read_whole(tmp_path: Path) -> None:
    with open(tmp_path / "x", "wb") as out:
        out.truncate(1 << 40)
    with pytest.raises(DataError, match="binary data"):
        list(stream([str(tmp_path / "x")], ReadOptions(skip_bad=True)))


def test_formats_do_not_depend_on_names(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(LINES)
    (tmp_path / "x.gz").write_bytes(LINES)
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "x.jsonl")
    (tmp_path / "x").write_bytes(gzip.compress(json.dumps({"text": "a"}).encode()))
    kinds = {path.name: formats.recognise(path) for path in tmp_path.iterdir()}
    assert kinds == {"x.parquet": "jsonl", "x.gz": "jsonl", "x.jsonl": "parquet", "x": "gzip"}
