"""Streams of documents: the same from every format, bad ones named or counted, memory bounded."""

import gzip
import hashlib
import http.server
import json
import subprocess
import sys
import threading
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
from encore.errors import DataError, UsageError
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
    (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "broken JSON", "4300 digits"),
    (b'{"text": 1e999}', "field is not a string", "float"),
    (b'{"text": "caf\xe9"}', "invalid UTF-8", "byte 14 of the line"),
    (b'{"text": "\\ud83d"}', "invalid UTF-8", "surrogates not allowed"),
    (b'["a"]', "not a JSON object", "list"),
    (b'{"content": "a", "id": 1}', "missing field", "'text' is not among 'content', 'id'"),
    (b'{"text": null}', "field is not a string", "NoneType"),
    (b'{"text": ["a"]}', "field is not a string", "list"),
    (b'{"text": ""}', "empty document", ""),
]


def jsonl(path: Path, texts: list[Any], field: str = "text") -> Path:
    path.parent.mkdir(exist_ok=True)
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
        b'{"text": "e", "n": 1e999, "m": %s}' % (b"9" * 400),
    )
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    assert texts_of(tmp_path / "x.jsonl") == ["a", "c", "d", "e"]


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


def test_of_many_fields_a_few_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(dict.fromkeys(map(str, range(10_000)))))
    with pytest.raises(DataError, match=r"'text' is not among '0', .*'9', … \(10,000 in all\)$"):
        texts_of(tmp_path / "x.jsonl")


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


def test_a_byte_order_mark_is_no_part_of_the_first_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = b"\xef\xbb\xbf" + jsonl(tmp_path / "x.jsonl", ["a", "b"]).read_bytes()
    (tmp_path / "x.jsonl").write_bytes(marked)
    (tmp_path / "x.gz").write_bytes(gzip.compress(marked))
    for size in (documents.BLOCK_BYTES, 1, 2, 3):
        monkeypatch.setattr(documents, "BLOCK_BYTES", size)
        for name in ("x.jsonl", "x.gz"):
            batches = list(stream([str(tmp_path / name)], SKIP))
            assert [text for batch in batches for text in batch.texts] == [b"a", b"b"]
            lines = [line for batch in batches for line in batch.lines or []]
            assert b"".join(lines) == marked[3:]


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_large_window_is_no_damage(tmp_path: Path, skip_bad: bool) -> None:
    """A frame of zstd --long=28 or more is whole, but takes more memory than zstd grants."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    plain = jsonl(tmp_path / "x.jsonl", ["a"]).read_bytes()
    (tmp_path / "x.zst").write_bytes(packer.compress(plain) + packer.flush())
    with pytest.raises(DataError) as error:
        texts_of(tmp_path / "x.zst", ReadOptions(skip_bad=skip_bad))
    assert str(error.value) == (
        f"{tmp_path / 'x.zst'} was compressed with a window of more than 128 MiB"
    )
    assert error.value.hint == f"decompress it first: zstd -d --long=31 {tmp_path / 'x.zst'}"


def test_a_frame_without_data_comes_before_those_with_data(tmp_path: Path) -> None:
    """So begin the files of pzstd."""
    plain = jsonl(tmp_path / "x.jsonl", ["a"]).read_bytes()
    (tmp_path / "x.zst").write_bytes(
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + zstandard.compress(plain)
    )
    assert texts_of(tmp_path / "x.zst") == ["a"]


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


def test_a_script_in_a_folder_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    jsonl(folder / "train.jsonl", TEXTS)
    with pytest.raises(DataError, match=r"evil\.py is CSV or other text, not jsonl"):
        texts_of(folder)
    assert not (tmp_path / "was_run").exists()


def test_every_file_of_a_folder_is_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    # whatever words their names have and whatever most of them are
    names = ["train_a.jsonl", "b.jsonl", "c.json", "sub/d.jsonl", "sub/train/e", "sub.x/f.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        jsonl(tmp_path / name, [name])
    pq.write_table(pa.table({"text": ["g"]}), tmp_path / "g.parquet")
    for name in (".hidden", "_SUCCESS", "README.md", "LICENSE", "dataset_infos.json"):
        (tmp_path / name).write_text("not data")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.jsonl").write_text("not data")
    order = ["b.jsonl", "c.json", "g", "sub/d.jsonl", "sub/train/e", "sub.x/f.txt", "train_a.jsonl"]
    batches = list(stream([str(tmp_path)], PLAIN))
    assert [text.decode() for batch in batches for text in batch.texts] == order
    files = {batch.input_index: batch.source.name for batch in batches}
    assert len(files) == len(order)
    assert files[3] == str(tmp_path / "sub" / "d.jsonl")


@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_file_of_a_folder_that_cannot_be_read_is_named(tmp_path: Path, skip_bad: bool) -> None:
    jsonl(tmp_path / "a.jsonl", ["a"])
    (tmp_path / "b.csv").write_text("text\na\n")
    with pytest.raises(DataError, match=r"b\.csv is CSV, not jsonl"):
        texts_of(tmp_path, ReadOptions(skip_bad=skip_bad))
    (tmp_path / "b.csv").unlink()
    (tmp_path / "b.jsonl").symlink_to("nowhere")
    with pytest.raises(OSError, match=r"b\.jsonl"):
        texts_of(tmp_path)
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="link is a link to a folder, which would not be read"):
        texts_of(tmp_path)


def test_a_folder_of_several_splits_is_not_read_as_one(tmp_path: Path) -> None:
    for name in ("train.jsonl", "latest.jsonl", "contest.jsonl", "test.jsonl"):
        jsonl(tmp_path / name, [name])
    with pytest.raises(DataError, match=r"more than one split: test\.jsonl .*, contest\.jsonl"):
        texts_of(tmp_path)
    (tmp_path / "test.jsonl").unlink()
    assert len(texts_of(tmp_path)) == 3
    jsonl(tmp_path / "only" / "c4-validation.0.jsonl", ["held out"])
    assert texts_of(tmp_path / "only") == ["held out"]


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(DataError, match="holds no data files"):
        texts_of(tmp_path)


def test_a_split_of_files_is_refused(tmp_path: Path) -> None:
    jsonl(tmp_path / "x.jsonl", ["a"])
    for name in (tmp_path, tmp_path / "x.jsonl"):
        with pytest.raises(UsageError, match="--split test is for datasets of the Hub"):
            texts_of(name, ReadOptions(split="test"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"HF_HUB_OFFLINE": "1"},
            "encore.errors.DataError: nobody/nothing:en is no file or folder here, and cannot be"
            " read as a dataset: ",
        ),
        (
            # nothing listens there; `datasets` alone would retry for half a minute
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "encore.errors.HubUnreachableError: nobody/nothing:en is neither a file or folder here,"
            " and http://127.0.0.1:9 does not answer",
        ),
    ],
    ids=["offline", "no network"],
)
def test_a_dataset_that_cannot_be_found_is_one_clear_line(
    settings: dict[str, str], message: str, tmp_path: Path
) -> None:
    code = (
        "from encore.corpus.documents import *; list(stream(['nobody/nothing:en'], ReadOptions()))"
    )
    environment = {"HF_HOME": str(tmp_path), "PYTHONPATH": "tools", "PATH": "", **settings}
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True
    )
    assert ended.stderr.splitlines()[-1].startswith(message)


class _BreakingOff(http.server.BaseHTTPRequestHandler):
    """A Hub that answers at its address, and breaks off all else."""

    def do_HEAD(self) -> None:
        if self.path == "/":
            self.send_response(200)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_a_hub_that_breaks_off_is_one_clear_line(tmp_path: Path) -> None:
    code = "from encore.corpus.documents import *; list(stream(['nobody/nothing'], ReadOptions()))"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _BreakingOff) as server:
        threading.Thread(target=server.serve_forever).start()
        environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path),
            "PYTHONPATH": "tools",
            "PATH": "",
        }
        root = Path(__file__).parents[2]
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True
        )
        server.shutdown()
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("encore.errors.DataError: nobody/nothing is no file or folder here, and")


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
