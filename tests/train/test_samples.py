"""Training reads the same samples in the same order as Megatron-DeepSpeed."""

from pathlib import Path

import numpy as np
import pytest
from encore.errors import DataError, UsageError
from encore.tokens.data_paths import Group, WeightedPrefix
from encore.tokens.indexed import IndexedWriter
from encore.train.samples import (
    SampleCounts,
    batches,
    build_train,
    build_valid,
    dump,
    sample_counts,
)
from hypothesis import given
from hypothesis import strategies as st

DATA = Path(__file__).resolve().parents[1] / "data"
TINY = str(DATA / "megatron_tiny/data/tiny_text_document")
GOLDEN = np.load(DATA / "megatron_samples/golden.npz")


def group(name, *parts):
    return Group(name, tuple(WeightedPrefix(*part) for part in parts))


def write(prefix, documents, dtype=np.uint16):
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.add(document)
    return str(prefix)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """The three corpora of the golden file."""
    folder = tmp_path_factory.mktemp("corpora")
    prefixes = []
    for k, dtype in enumerate(("<u2", "<i4", "<u2")):
        prefixes.append(str(folder / f"corpus {k}"))
        with IndexedWriter(prefixes[-1], dtype) as writer:
            writer.add_batch(GOLDEN[f"corpus{k}_tokens"], GOLDEN[f"corpus{k}_sizes"])
    return prefixes


def test_samples_equal_those_of_a_real_run():
    train = build_train([group("train", (1, 0, 0.9, TINY))], 160, 64, 1234, 5120)
    ((name, valid),) = build_valid([group("valid", (1, 0.9, 1, TINY))], 32, 64, 1234, 5120)
    assert name == "valid"
    assert (len(train), len(valid)) == (5575, 636)  # whole epochs
    for dataset, expected in ((train, GOLDEN["tiny_train"]), (valid, GOLDEN["tiny_valid"])):
        samples = np.stack([dataset[i] for i in range(len(expected))])
        assert samples.dtype == np.int64
        np.testing.assert_array_equal(samples, expected)


@pytest.mark.parametrize(
    ("name", "parts"),
    [("mix", [(0.25, 0, 1, 0), (1, 0.2, 0.95, 1), (0.5, 0.5, 1, 2)]), ("tail", [(1, 0.7, 1, 0)])],
)
def test_blends_and_ranges_equal_megatrons(name, parts, corpora):
    named = [(weight, start, end, corpora[k]) for weight, start, end, k in parts]
    dataset = build_train([group("train", *named)], 150, 16, 1234)
    np.testing.assert_array_equal([dataset[i] for i in range(150)], GOLDEN[f"group_{name}"])


def test_one_epoch_reads_every_token_once(tmp_path):
    tokens = np.arange(1000)
    prefix = write(tmp_path / "x", np.split(tokens, [3, 3, 500, 501, 501, 990]))
    dataset = build_train([group("train", (1, 0, 1, prefix))], 1, 37, 5)
    inputs = np.concatenate([sample[:-1] for sample in dataset])
    assert len(dataset) == 27
    assert len(set(inputs.tolist())) == len(inputs) == 27 * 37


def test_one_corpus_may_give_several_parts(tmp_path):
    prefix = write(tmp_path / "x", [np.full(20, k) for k in range(10)])
    parts = [(0.5, 0, 0.5, prefix), (0.5, 0.5, 1, prefix)]
    dataset = build_train([group("train", *parts)], 20, 9, 1)
    assert [int(sample.max() >= 5) for sample in dataset] == [0, 1] * 10


def test_another_number_of_samples_may_change_their_order_and_that_is_told(tmp_path):
    prefix = write(tmp_path / "x", [np.arange(7) + 7 * k for k in range(9)])
    groups = {
        "one": [group("train", (1, 0, 1, prefix))],
        "blend": [group("train", (1, 0, 0.5, prefix), (3, 0.5, 1, prefix))],
    }
    answers = set()
    for name, parts in groups.items():
        built = {n: build_train(parts, n, 5, 1) for n in range(1, 60, 4)}
        for n, dataset in built.items():
            for other in built:
                shared = min(n, other)
                same = [dataset[i].tolist() for i in range(shared)] == [
                    built[other][i].tolist() for i in range(shared)
                ]
                # equal beginnings may be chance, but a promise must hold
                assert same or not dataset.same_order(other)
                answers.add((name, dataset.same_order(other)))
    assert len(answers) == 4


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((160, 8, 20, 2), (160, 32, 16)),
        ((1000, 256, 100, 10), (1000, 2560, 2560)),
        ((160, 8, 20, 0), (160, 0, 0)),
    ],
)
def test_counts_are_those_that_megatron_asks_for(arguments, expected):
    assert sample_counts(*arguments) == SampleCounts(*expected)


@given(st.integers(0, 60), st.integers(0, 70), st.integers(1, 5), st.integers(1, 4))
def test_ranks_read_in_turn_what_one_process_reads(length, consumed, micro_batch_size, world_size):
    dataset = np.arange(length)[:, None] * np.ones(3, np.int64)
    ranks = [
        list(batches(dataset, consumed, micro_batch_size, rank, world_size))
        for rank in range(world_size)
    ]
    read = [
        int(sample[0]) for step in zip(*ranks, strict=True) for batch in step for sample in batch
    ]
    whole = (
        max(0, length - consumed) // (micro_batch_size * world_size) * micro_batch_size * world_size
    )
    assert read == list(range(consumed, consumed + whole))
    assert all(
        batch.shape == (micro_batch_size, 3)
        for batches_of_rank in ranks
        for batch in batches_of_rank
    )


def test_a_dump_holds_what_training_reads_first(tmp_path, corpora):
    train = build_train([group("train", (1, 0, 0.9, TINY))], 160, 64, 1234)
    valid = build_valid(
        [group("a", (1, 0.9, 1, TINY)), group("b", (1, 0, 0.5, TINY))], 32, 64, 1234
    )
    dump(tmp_path / "out/samples.npz", 20, train, valid)
    first = (tmp_path / "out/samples.npz").read_bytes()
    with np.load(tmp_path / "out/samples.npz") as written:
        assert sorted(written) == ["train", "valid", "valid_b"]
        assert all(
            written[name].shape == (20, 65) and written[name].dtype == np.int64 for name in written
        )
        np.testing.assert_array_equal(written["train"], GOLDEN["tiny_train"][:20])
        np.testing.assert_array_equal(written["valid"], GOLDEN["tiny_valid"][:20])
        np.testing.assert_array_equal(written["valid_b"], [valid[1][1][i] for i in range(20)])
    dump(tmp_path / "out/samples.npz", 20, train, valid)
    assert (tmp_path / "out/samples.npz").read_bytes() == first


@pytest.mark.parametrize(
    ("n", "named"), [(0, "train"), (637, "valid has 636"), (5576, "train has 5575")]
)
def test_a_dump_of_more_than_there_is_writes_nothing(n, named, tmp_path):
    train = build_train([group("train", (1, 0, 0.9, TINY))], 160, 64, 1234)
    valid = build_valid([group("valid", (1, 0.9, 1, TINY))], 32, 64, 1234)
    with pytest.raises(UsageError, match=named):
        dump(tmp_path / "samples.npz", n, train, valid)
    assert list(tmp_path.iterdir()) == []


def test_a_dump_without_validation_holds_training_alone(tmp_path):
    dump(tmp_path / "samples.npz", 3, build_train([group("train", (1, 0, 1, TINY))], 3, 64, 1), [])
    with np.load(tmp_path / "samples.npz") as written:
        assert list(written) == ["train"]


@pytest.mark.parametrize("token", [100, 65535, -1])
def test_a_token_outside_the_vocabulary_is_named(token, tmp_path):
    prefix = write(tmp_path / "x", [np.array([*range(20), token, *range(20)])], np.int32)
    dataset = build_train([group("train", (1, 0, 1, prefix))], 4, 10, 1, vocabulary_size=100)
    with pytest.raises(
        DataError, match=f"x.bin holds token id {token}, but the vocabulary has 100"
    ):
        list(dataset)
    assert len(list(build_train([group("train", (1, 0, 1, prefix))], 4, 10, 1))) == 4


def test_the_largest_token_of_the_vocabulary_is_in_it(tmp_path):
    prefix = write(tmp_path / "x", [np.full(50, 99)])
    assert (
        len(list(build_train([group("train", (1, 0, 1, prefix))], 4, 10, 1, vocabulary_size=100)))
        == 4
    )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ((1, 0, 1, "nowhere/x"), "nowhere/x.* does not exist"),
        ((1, 0.5, 0.501, TINY), "0.5:0.501 is empty: none of the 299 documents"),
        (
            (1, 0, 1, "{short}"),
            "short 0:1: documents 0 to 2 hold 8 tokens, but one sample takes 65",
        ),
        ((1, 0, 1, "{empty}"), "empty 0:1 is empty"),
    ],
)
def test_data_that_cannot_give_the_samples_is_a_data_error(part, message, tmp_path):
    write(tmp_path / "short", [[1, 2, 3], [4, 5, 6, 7, 8]])
    write(tmp_path / "empty", [])
    prefix = part[3].format(short=tmp_path / "short", empty=tmp_path / "empty")
    for mixed_in in ([], [(1, 0, 1, TINY)]):
        with pytest.raises(DataError, match=message):
            build_train([group("train", *mixed_in, (*part[:3], prefix))], 10, 64, 1234)


def test_more_parts_than_megatron_blends_are_refused():
    with pytest.raises(DataError, match="'many' blends 255 parts"):
        build_train([group("many", *[(1, 0, 1, TINY)] * 255)], 10, 64, 1)


def test_outside_a_dataset_there_is_nothing():
    dataset = build_train([group("train", (1, 0, 1, TINY))], 10, 64, 1)
    for i in (-1, len(dataset)):
        with pytest.raises(IndexError):
            dataset[i]
