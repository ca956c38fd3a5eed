"""The index maps are Megatron's bit for bit; every sample is where the token stream says."""

from pathlib import Path

import numpy as np
import pytest
from encore.errors import DataError
from encore.tokens.indexed import IndexedDataset
from encore.train import index_maps
from hypothesis import given
from hypothesis import strategies as st

DATA = Path(__file__).resolve().parents[1] / "data"
TINY = DATA / "megatron_tiny/data/tiny_text_document"
GOLDEN = np.load(DATA / "megatron_samples/golden.npz")
MAPS = ("doc_idx", "sample_idx", "shuffle_idx")


def assert_same(maps, expected):
    for name in MAPS:
        ours, theirs = getattr(maps, name), expected[name]
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize(
    ("name", "first", "last", "n_samples"), [("train", 0, 269, 160), ("valid", 269, 299, 32)]
)
def test_maps_equal_those_that_a_real_run_wrote(name, first, last, n_samples):
    maps = index_maps.build(IndexedDataset(TINY).sizes, range(first, last), n_samples, 64, 1234)
    stem = f"{TINY}_{name}_indexmap_{n_samples}ns_64sl_1234s"
    assert_same(maps, {map_name: np.load(f"{stem}_{map_name}.npy") for map_name in MAPS})


@pytest.mark.parametrize("block", [1, 3, 1 << 22])
@pytest.mark.parametrize("case", range(10))
def test_maps_equal_megatrons_whatever_the_block(case, block, monkeypatch):
    monkeypatch.setattr(index_maps, "_BLOCK_DOCUMENTS", block)
    first, last, n_samples, sequence_length, seed = GOLDEN[f"maps{case}_args"].tolist()
    maps = index_maps.build(
        GOLDEN[f"maps{case}_sizes"], range(first, last), n_samples, sequence_length, seed
    )
    assert_same(maps, {name: GOLDEN[f"maps{case}_{name}"] for name in MAPS})


@st.composite
def corpora(draw):
    sizes = draw(st.lists(st.integers(0, 30), min_size=1, max_size=30))
    first = draw(st.integers(0, len(sizes) - 1))
    last = draw(st.integers(first + 1, len(sizes)))
    sequence_length = draw(st.integers(1, 20))
    whole = sum(sizes[first:last]) > sequence_length
    if not whole:
        sizes[first] = sequence_length + 1
    n_samples = draw(st.integers(0, 200))
    return (
        np.array(sizes, np.int32),
        range(first, last),
        n_samples,
        sequence_length,
        draw(st.integers(0, 2**32 - 1)),
    )


@given(corpora())
def test_a_sample_starts_where_its_first_token_lies(corpus):
    sizes, documents, n_samples, sequence_length, seed = corpus
    maps = index_maps.build(sizes, documents, n_samples, sequence_length, seed)
    stream = [
        (place, offset)
        for place, document in enumerate(maps.doc_idx)
        for offset in range(sizes[document])
    ]
    starts = stream[::sequence_length][: len(maps.sample_idx)]
    # Megatron's first row is the very beginning, even where the first document is empty
    assert maps.sample_idx.tolist() == [[0, 0], *map(list, starts[1:])]
    assert len(maps.sample_idx) == (len(stream) - 1) // sequence_length + 1


@given(corpora())
def test_every_epoch_reads_every_document_and_every_sample_is_read_once(corpus):
    sizes, documents, n_samples, sequence_length, seed = corpus
    maps = index_maps.build(sizes, documents, n_samples, sequence_length, seed)
    epochs, rest = divmod(len(maps.doc_idx), len(documents))
    assert rest == 0
    assert sorted(maps.doc_idx) == sorted(list(documents) * epochs)
    assert sorted(maps.shuffle_idx) == list(range(len(maps.sample_idx) - 1))
    assert len(maps.shuffle_idx) >= n_samples
    one_less = ((epochs - 1) * sizes[documents.start : documents.stop].sum() - 1) // sequence_length
    assert epochs == 1 or one_less < n_samples


@pytest.mark.parametrize(
    ("n_samples", "apart"), [(110, True), (211, True), (212, False), (219, False)]
)
def test_a_last_epoch_is_kept_apart_when_less_than_95_percent_of_it_is_read(n_samples, apart):
    sizes = np.full(
        100, 11, np.int32
    )  # one epoch holds 109 samples of 10 tokens, of which 95% are 103; two hold 219
    maps = index_maps.build(sizes, range(100), n_samples, 10, 1)
    assert (sorted(maps.shuffle_idx[:109]) == list(range(109))) == apart
    assert (sorted(maps.doc_idx[:100]) == list(range(100))) == apart


def test_an_unaligned_view_of_the_sizes_gives_the_same_maps():
    raw = np.zeros(4 * 50 + 1, np.uint8)
    sizes = raw[1:].view("<i4")
    sizes[:] = np.arange(50)
    assert_same(
        index_maps.build(sizes, range(50), 99, 7, 3),
        vars(index_maps.build(sizes.copy(), range(50), 99, 7, 3)),
    )


@pytest.mark.parametrize("sizes", [[0, 0], [4, 4], [8]])
def test_less_than_one_sample_is_refused(sizes):
    with pytest.raises(DataError, match=f"hold {sum(sizes)} tokens, but one sample takes 9"):
        index_maps.build(np.array(sizes, np.int32), range(len(sizes)), 1, 8, 1)


def test_more_documents_than_megatron_counts_are_refused_before_memory_is_allocated():
    with pytest.raises(DataError, match="more than the 2,147,483,647 that Megatron counts"):
        index_maps.build(np.ones(1000, np.int32), range(1000), 2**31 // 10, 10, 1)
