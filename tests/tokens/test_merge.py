"""Merging: Megatron's own bytes, and offsets that are right where Megatron's once were not."""

import hashlib
import struct
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from encore.errors import DataError, UsageError
from encore.tokens import indexed, merge
from encore.tokens.indexed import Index, IndexedDataset, IndexedWriter
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

DATA = Path(__file__).parents[1] / "data"
GENUINE = [
    DATA / "megatron_tool" / "gpt2_text_document",
    DATA / "megatron_tiny" / "data" / "tiny_text_document",
]


def megatrons_merge(prefixes: list[Path], output: Path) -> None:
    """MMapIndexedDatasetBuilder.merge_file_ and finalize in plain Python (TurkuNLP 6732bc9)."""
    sizes: list[int] = []
    ends = [0]
    code = 0
    with open(f"{output}.bin", "wb") as tokens:
        for prefix in prefixes:
            index = Path(f"{prefix}.idx").read_bytes()
            _, code, count, documents = struct.unpack_from("<QBQQ", index, 9)
            ends += [
                len(sizes) + end
                for end in struct.unpack_from(f"<{documents}q", index, 34 + 12 * count)[1:]
            ]
            sizes += struct.unpack_from(f"<{count}i", index, 34)
            tokens.write(Path(f"{prefix}.bin").read_bytes())
    width = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 8: 2}[code]
    starts = list(accumulate((size * width for size in sizes), initial=0))[:-1]
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, len(sizes), len(ends))
    lists = struct.pack(f"<{len(sizes)}i{len(sizes)}q{len(ends)}q", *sizes, *starts, *ends)
    Path(f"{output}.idx").write_bytes(head + lists)


def pair(prefix: Path) -> tuple[bytes, bytes]:
    return Path(f"{prefix}.bin").read_bytes(), Path(f"{prefix}.idx").read_bytes()


def write(prefix: Path, documents: list[list[int]], dtype: str = "<u2", sequences: int = 1) -> Path:
    """A pair whose documents are of `sequences` sequences each, as --split-sentences makes them."""
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.add(document)
    index = Path(f"{prefix}.idx").read_bytes()
    ends = [*range(0, len(documents), sequences), len(documents)]
    kept = index[: 34 + 12 * len(documents)]
    head = kept[:26] + struct.pack("<Q", len(ends)) + kept[34:]
    Path(f"{prefix}.idx").write_bytes(head + struct.pack(f"<{len(ends)}q", *ends))
    return prefix


def test_genuine_pairs_give_megatrons_bytes(tmp_path: Path) -> None:
    inputs = [GENUINE[0], GENUINE[1], GENUINE[0]]
    megatrons_merge(inputs, tmp_path / "theirs")
    merged = merge.merge(inputs, tmp_path / "ours")
    assert pair(tmp_path / "ours") == pair(tmp_path / "theirs")
    assert len(merged) == sum(len(Index(prefix)) for prefix in inputs)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{end}" for name in ("ours", "theirs") for end in ("bin", "idx")
    }


@examples(40)
@given(
    st.lists(
        st.tuples(
            st.lists(st.lists(st.integers(0, 127), max_size=5), max_size=9), st.integers(1, 4)
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(["u1", "i1", "<i2", "<i4", "<i8", "<u2"]),
    st.integers(1, 5),
)
def test_any_pairs_give_megatrons_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[list[list[int]], int]],
    dtype: str,
    chunk: int,
) -> None:
    folder = tmp_path_factory.mktemp("merging")
    inputs = [
        write(folder / f"in{n}", documents, dtype, per) for n, (documents, per) in enumerate(pairs)
    ]
    megatrons_merge(inputs, folder / "theirs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexed, "_INDEX_CHUNK", chunk)
        merge.merge(inputs, folder / "ours")
    assert pair(folder / "ours") == pair(folder / "theirs")
    assert IndexedDataset(folder / "ours").problem() is None
    assert IndexedDataset(folder / "ours").tokens.tolist() == [
        token for some, _ in pairs for one in some for token in one
    ]


class Huge(Index):
    """An index of `count` documents of as many tokens as an .idx can state, without a .bin."""

    def __init__(self, count: int) -> None:
        self.prefix, self.dtype = "huge", np.dtype("<u2")
        self.sizes = np.full(count, 2**31 - 1, "<i4")
        self.pointers = np.arange(count, dtype="<i8") * (2 * (2**31 - 1))
        self.doc_idx = np.arange(count + 1, dtype="<i8")


def test_offsets_beyond_forty_billion_tokens_do_not_wrap(tmp_path: Path) -> None:
    indexed.write_index(tmp_path / "x.idx", [Huge(30), Huge(700_000)])
    read = Index(tmp_path / "x")
    for i in (0, 1, 2, 29, 30, 31, 262_143, 262_144, 700_029):
        assert int(read.pointers[i]) == i * 2 * (2**31 - 1)
    assert read.bin_bytes == 700_030 * 2 * (2**31 - 1) > 2 * 40 * 10**9
    assert read.problem() is None
    assert (
        hashlib.sha256(read.pointers.tobytes()).digest()
        == hashlib.sha256(Huge(700_030).pointers.tobytes()).digest()
    )


def test_pairs_whose_sum_is_beyond_two_gigabytes_are_read_back(tmp_path: Path) -> None:
    inputs = []
    for name, last in (("a", 7), ("b", 8)):
        indexed.write_index(tmp_path / f"{name}.idx", [Huge(1)])
        with open(tmp_path / f"{name}.bin", "wb") as holes:
            holes.seek(2 * (2**31 - 1) - 2)
            holes.write(struct.pack("<H", last))
        inputs.append(IndexedDataset(tmp_path / name))
    with open(tmp_path / "x.bin", "wb") as holes:
        for number, each in enumerate(inputs, 1):
            holes.seek(number * each.bin_bytes - 2)
            holes.write(each.tokens[-1:].tobytes())
    indexed.write_index(tmp_path / "x.idx", inputs)
    read = IndexedDataset(tmp_path / "x")
    assert [int(read.get(i, 2**31 - 2)[0]) for i in (0, 1)] == [7, 8]


def test_an_index_whose_offsets_have_wrapped_is_refused(tmp_path: Path) -> None:
    prefix = write(tmp_path / "x", [[1, 2], [3], [4]])
    index = bytearray(Path(f"{prefix}.idx").read_bytes())
    index[34 + 12 + 8 : 34 + 12 + 16] = struct.pack("<q", -(2**31))
    Path(f"{prefix}.idx").write_bytes(index)
    with pytest.raises(DataError, match=r"sequence 1 begins at byte -2,147,483,648 instead of 4"):
        merge.merge([prefix], tmp_path / "out")
    assert not (tmp_path / "out.bin").exists()


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (34 + 4, struct.pack("<i", -1), "sequence 1 has -1 tokens"),
        (34 + 36, struct.pack("<q", 1), "document index does not run from 0 to 3"),
        (34 + 36 + 24, struct.pack("<q", 2), "document index does not run from 0 to 3"),
        (34 + 36 + 8, struct.pack("<q", 3), "document 1 ends before it begins"),
    ],
)
def test_what_is_wrong_in_an_index_is_found(
    tmp_path: Path, at: int, value: bytes, message: str
) -> None:
    prefix = write(tmp_path / "x", [[1, 2], [3], [4]])
    index = bytearray(Path(f"{prefix}.idx").read_bytes())
    index[at : at + len(value)] = value
    Path(f"{prefix}.idx").write_bytes(index)
    assert message in (Index(prefix).problem() or "")


def test_different_dtypes_are_not_mixed(tmp_path: Path) -> None:
    inputs = [write(tmp_path / "a", [[1]], "<u2"), write(tmp_path / "b", [[1]], "<i4")]
    with pytest.raises(DataError, match=r"b holds int32, .*a uint16"):
        merge.merge(inputs, tmp_path / "out")


@pytest.mark.parametrize("output", ["a", "./a", "linked"])
def test_the_output_is_none_of_the_inputs(tmp_path: Path, output: str) -> None:
    inputs = [write(tmp_path / "a", [[1]]), write(tmp_path / "b", [[2]])]
    (tmp_path / "linked.bin").symlink_to(tmp_path / "a.bin")
    before = pair(inputs[0])
    with pytest.raises(UsageError, match="both an input and the output"):
        merge.merge(inputs, tmp_path / output)
    assert pair(inputs[0]) == before


def test_manifests_of_an_older_output_do_not_stay(tmp_path: Path) -> None:
    for suffix in (".json", ".parts.json"):
        (tmp_path / f"out{suffix}").write_text("{}")
    merge.merge([write(tmp_path / "a", [[1]])], tmp_path / "out")
    assert not list(tmp_path.glob("*.json"))
