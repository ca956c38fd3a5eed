"""Megatron's .bin/.idx: byte for byte as its own tool writes them, and whole or refused."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from encore.errors import DataError
from encore.tokens import indexed
from encore.tokens.indexed import IndexedDataset, IndexedWriter, smallest_dtype
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

GENUINE = [
    Path(__file__).parents[1] / "data" / "megatron_tiny" / "data" / "tiny_text_document",
    Path(__file__).parents[1] / "data" / "megatron_tool" / "gpt2_text_document",
]
DTYPES = ["u1", "i1", "<i2", "<i4", "<i8", "<u2"]
HEADER_BYTES = 34


def pair(prefix: Path) -> tuple[bytes, bytes]:
    return Path(f"{prefix}.bin").read_bytes(), Path(f"{prefix}.idx").read_bytes()


def write(prefix: Path, documents: list[list[int]], dtype: str = "<u2") -> Path:
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.add(document)
    return prefix


def expected_index(sizes: list[int], dtype: str) -> bytes:
    """An .idx by Megatron's recipe: sizes, the exclusive scan of bytes, the document index."""
    code = {"u1": 1, "i1": 2, "<i2": 3, "<i4": 4, "<i8": 5, "<u2": 8}[dtype]
    pointers = np.cumsum([0, *sizes], dtype=np.int64)[:-1] * np.dtype(dtype).itemsize
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, len(sizes), len(sizes) + 1)
    return (
        head
        + np.array(sizes, "<i4").tobytes()
        + pointers.tobytes()
        + np.arange(len(sizes) + 1).tobytes()
    )


@pytest.mark.parametrize("genuine", GENUINE, ids=lambda path: path.name)
def test_a_genuine_pair_is_written_again_byte_for_byte(genuine: Path, tmp_path: Path) -> None:
    read = IndexedDataset(genuine)
    with IndexedWriter(tmp_path / "again", read.dtype) as writer:
        some = int(read.sizes[:5].sum())
        writer.add_batch(read.tokens[:some], read.sizes[:5])
        for i in range(5, len(read)):
            writer.add(read.get(i))
    assert pair(tmp_path / "again") == pair(genuine)
    assert (writer.documents, writer.tokens) == (len(read), len(read.tokens))


@examples(50)
@given(
    st.lists(st.lists(st.integers(0, 127), max_size=9), max_size=30),
    st.sampled_from(DTYPES),
    st.integers(1, 40),
    st.integers(1, 5),
)
def test_any_documents_in_any_batches_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    dtype: str,
    batch: int,
    chunk: int,
) -> None:
    prefix = tmp_path_factory.mktemp("indexed") / "a.b c"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexed, "_INDEX_CHUNK", chunk)
        with IndexedWriter(prefix, dtype) as writer:
            for first in range(0, len(documents), batch):
                some = documents[first : first + batch]
                writer.add_batch(
                    [token for document in some for token in document], [len(one) for one in some]
                )
    read = IndexedDataset(prefix)
    assert [read.get(i).tolist() for i in range(len(read))] == documents
    assert read.dtype == np.dtype(dtype)
    assert Path(f"{prefix}.idx").read_bytes() == expected_index(
        [len(one) for one in documents], dtype
    )


def test_part_of_a_document_is_a_view_within_its_bounds(tmp_path: Path) -> None:
    read = IndexedDataset(write(tmp_path / "x", [[1, 2, 3], [], [4, 5, 6, 7]]))
    assert read.get(2, 1).tolist() == [5, 6, 7]
    assert read.get(2, 1, 2).tolist() == [5, 6]
    assert read.get(1).size == read.get(2, 4).size == 0
    assert np.shares_memory(read.get(2), read.tokens)
    assert not read.tokens.flags.writeable
    for document, offset, length in [(0, 0, 4), (0, 4, None), (0, -1, 1), (0, 2, -1), (3, 0, None)]:
        with pytest.raises(IndexError):
            read.get(document, offset, length)


def test_a_dataset_of_no_documents_can_be_read(tmp_path: Path) -> None:
    read = IndexedDataset(write(tmp_path / "x", []))
    assert (len(read), len(read.tokens), read.doc_idx.tolist()) == (0, 0, [0])


def test_a_worker_process_maps_the_files_itself(tmp_path: Path) -> None:
    read = IndexedDataset(write(tmp_path / "x", [[1, 2], [3]]))
    packed = pickle.dumps(read)
    assert len(packed) < 500
    assert pickle.loads(packed).get(1).tolist() == [3]


def test_documents_beyond_four_gigabytes_are_found(tmp_path: Path) -> None:
    far = 5 << 30
    sizes, pointers = np.array([3, 2], "<i4"), np.array([0, far], "<i8")
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 4, 2, 3)
    (tmp_path / "x.idx").write_bytes(
        head + sizes.tobytes() + pointers.tobytes() + np.arange(3).tobytes()
    )
    with open(tmp_path / "x.bin", "wb") as sparse:
        sparse.seek(far)
        sparse.write(np.array([7, 8], "<i4").tobytes())
    assert IndexedDataset(tmp_path / "x").get(1).tolist() == [7, 8]


def test_a_document_that_sizes_cannot_hold_is_refused(tmp_path: Path) -> None:
    endless = np.broadcast_to(np.uint16(0), (2**31,))
    with (
        pytest.raises(DataError, match="2,147,483,648 tokens"),
        IndexedWriter(tmp_path / "x", "<u2") as writer,
    ):
        writer.add(endless)
    assert not list(tmp_path.iterdir())


def test_lengths_must_add_up(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="add up to 3"),
        IndexedWriter(tmp_path / "x", "<u2") as writer,
    ):
        writer.add_batch([1, 2], [1, 2])


def test_a_failed_write_leaves_the_older_pair_and_nothing_else(tmp_path: Path) -> None:
    before = pair(write(tmp_path / "x", [[1, 2]]))
    with pytest.raises(KeyboardInterrupt), IndexedWriter(tmp_path / "x", "<u2") as writer:
        writer.add([3])
        raise KeyboardInterrupt
    assert pair(tmp_path / "x") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.bin", "x.idx"]


def test_an_older_index_never_meets_newer_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "x", [[1, 2]])
    replaced = []

    def failing_second(source: Path, target: Path) -> None:
        replaced.append(target.name)
        if len(replaced) == 2:
            raise OSError("the machine stops here")
        Path(source).rename(target)

    monkeypatch.setattr(os, "replace", failing_second)
    with pytest.raises(OSError, match="stops here"):
        write(tmp_path / "x", [[3], [4, 5]])
    assert replaced == ["x.bin", "x.idx"]
    with pytest.raises(DataError, match=r"x\.idx does not exist"):
        IndexedDataset(tmp_path / "x")


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    clean = pair(write(tmp_path / "clean", [[1, 2], [3]]))
    for suffix in (".bin", ".idx"):
        (tmp_path / f".x{suffix}.tmp").write_bytes(b"left by a killed run" * 99)
    assert pair(write(tmp_path / "x", [[1, 2], [3]])) == clean
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("size", "dtype"), [(0, "uint16"), (50257, "uint16"), (65499, "uint16"), (65500, "int32")]
)
def test_the_dtype_is_megatrons_choice(size: int, dtype: str) -> None:
    assert smallest_dtype(size).name == dtype


@pytest.mark.parametrize("suffix", [".bin", ".idx"])
def test_a_missing_file_is_named(tmp_path: Path, suffix: str) -> None:
    prefix = write(tmp_path / "x", [[1]])
    Path(f"{prefix}{suffix}").unlink()
    with pytest.raises(DataError, match=rf"x\{suffix} does not exist"):
        IndexedDataset(prefix)


def test_an_index_cut_anywhere_is_refused(tmp_path: Path) -> None:
    prefix = write(tmp_path / "x", [[1, 2], [3]])
    whole = pair(prefix)[1]
    for length in range(len(whole)):
        Path(f"{prefix}.idx").write_bytes(whole[:length])
        with pytest.raises(
            DataError, match="truncated" if length >= 9 else "truncated|not a Megatron"
        ):
            IndexedDataset(prefix)


@pytest.mark.parametrize(
    ("at", "byte", "message"),
    [
        (0, b"T", "not a Megatron .idx"),
        (9, b"\2", "version 2; only version 1 can be read"),
        (17, b"\6", "dtype code 6; token ids have one of: "),
        (17, b"\0", "dtype code 0"),
        (18, b"\3", "truncated: 82 bytes where its header says 94"),
        (33, b"\x7f", "truncated"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path: Path, at: int, byte: bytes, message: str) -> None:
    prefix = write(tmp_path / "x", [[1, 2], [3]])
    index = pair(prefix)[1]
    Path(f"{prefix}.idx").write_bytes(index[:at] + byte + index[at + 1 :])
    with pytest.raises(DataError, match=message):
        IndexedDataset(prefix)


@pytest.mark.parametrize(
    ("change", "message"), [(-1, "truncated: 5 bytes"), (1, "too long: 7 bytes")]
)
def test_tokens_that_do_not_fit_their_index_are_refused(
    tmp_path: Path, change: int, message: str
) -> None:
    prefix = write(tmp_path / "x", [[1, 2], [3]])
    os.truncate(f"{prefix}.bin", 6 + change)
    with pytest.raises(DataError, match=message):
        IndexedDataset(prefix)


def test_more_index_than_the_header_says_is_refused(tmp_path: Path) -> None:
    prefix = write(tmp_path / "x", [[1, 2], [3]])
    with open(f"{prefix}.idx", "ab") as index:
        index.write(b"\0")
    with pytest.raises(DataError, match="too long"):
        IndexedDataset(prefix)
