"""What people ask about a pair: its numbers, and what a document says."""

import struct
from pathlib import Path

import pytest
from encore.errors import DataError, UsageError
from encore.tokens import describe
from encore.tokens import tokenizer as tokenizer_files
from encore.tokens.indexed import IndexedWriter

DATA = Path(__file__).parents[1] / "data"
GENUINE = DATA / "megatron_tool" / "gpt2_text_document"


def write(prefix: Path, documents: list[list[int]]) -> Path:
    with IndexedWriter(prefix, "<u2") as writer:
        for document in documents:
            writer.add(document)
    return prefix


def test_the_numbers_of_a_pair(tmp_path: Path) -> None:
    found = describe.describe(write(tmp_path / "x", [[7] * n for n in range(101)]))
    assert (found["documents"], found["sequences"], found["tokens"]) == (101, 101, 5050)
    assert (found["dtype"], found["empty_documents"]) == ("uint16", 1)
    assert found["bytes"] == {"x.bin": 10_100, "x.idx": 34 + 101 * 12 + 102 * 8}
    expected = {
        "shortest": 0,
        "p10": 10,
        "median": 50,
        "p90": 90,
        "p99": 99,
        "longest": 100,
        "mean": 50.0,
    }
    assert found["document_tokens"] == expected


def test_a_pair_of_no_documents_has_no_lengths(tmp_path: Path) -> None:
    found = describe.describe(write(tmp_path / "x", []))
    assert found["documents"] == found["tokens"] == 0
    assert set(found["document_tokens"].values()) == {None}


def test_documents_of_several_sequences_are_put_together(tmp_path: Path) -> None:
    prefix = write(tmp_path / "x", [[1], [2, 3], [4]])
    index = Path(f"{prefix}.idx").read_bytes()
    ends = struct.pack("<4q", 0, 2, 2, 3)
    Path(f"{prefix}.idx").write_bytes(
        index[:26] + struct.pack("<Q", 4) + index[34 : 34 + 36] + ends
    )
    assert [describe.document(prefix, n).tolist() for n in range(3)] == [[1, 2, 3], [], [4]]
    found = describe.describe(prefix)
    assert (found["documents"], found["sequences"], found["document_tokens"]["longest"]) == (
        3,
        3,
        3,
    )


@pytest.mark.parametrize("number", [-1, 91])
def test_a_document_that_is_not_there_is_a_usage_error(number: int) -> None:
    with pytest.raises(UsageError, match=f"has no document {number}") as caught:
        describe.document(GENUINE, number)
    assert "91 documents are counted from 0" in caught.value.hint


def test_a_document_is_its_own_text_again() -> None:
    tokenizer = tokenizer_files.load(str(DATA / "gpt2"))
    text = describe.text(describe.document(GENUINE, 3), tokenizer)
    assert text.endswith("<|endoftext|>")
    assert (
        tokenizer.backend.encode(text.removesuffix("<|endoftext|>")).ids
        == describe.document(GENUINE, 3)[:-1].tolist()
    )


def test_ids_of_another_tokenizer_are_not_left_out(tmp_path: Path) -> None:
    ids = describe.document(write(tmp_path / "x", [[1, 50257, 2]]), 0)
    with pytest.raises(DataError, match="id 50257 is not in tokenizer"):
        describe.text(ids, tokenizer_files.load(str(DATA / "gpt2")))


def test_a_wrong_index_is_not_described(tmp_path: Path) -> None:
    prefix = write(tmp_path / "x", [[1, 2], [3]])
    index = bytearray(Path(f"{prefix}.idx").read_bytes())
    index[34 + 8 : 34 + 16] = struct.pack("<q", 1)
    Path(f"{prefix}.idx").write_bytes(index)
    with pytest.raises(DataError, match="begins at byte 1 instead of 0"):
        describe.describe(prefix)
