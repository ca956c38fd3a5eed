"""Which tokens make each sample of a corpus: Megatron's three index maps, built in memory.

The documents of all epochs are shuffled and laid end to end; sample k of that stream is its tokens
k·L to k·L + L, so that neighbours share one token (an input and its label); training reads the
samples in a second shuffled order.
Nothing is cached: a billion tokens of C4 take a fifth of a second and all of C4 a minute, while a
cache beside the data goes stale and needs write access.
source: TurkuNLP 6732bc9 megatron/data/gpt_dataset.py (_build_index_mappings) and helpers.cpp
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encore.errors import DataError

# bounds the memory of cumulated sizes: 32 MiB a block
_BLOCK_DOCUMENTS = 1 << 22
_INT32_MAX = np.iinfo(np.int32).max
_UINT32_MAX = np.iinfo(np.uint32).max
# Megatron shuffles a last epoch with the others when at least this share of it is read
_JOIN_LAST_EPOCH_FROM = 0.95

Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True)
class IndexMaps:
    """Documents in reading order, where each sample starts in them, and the order of samples.

    doc_idx: int32 (epochs · documents,). sample_idx: int32 (samples + 1, 2), each row an index into
    doc_idx and a token offset in that document. shuffle_idx: uint32 (samples,), or int64 from
    2³² - 2 samples on. tokens: of one epoch. Documents, `epochs` and the seed decide all of it.
    """

    tokens: int
    epochs: "Epochs"
    doc_idx: Int32s
    sample_idx: Int32s
    shuffle_idx: npt.NDArray[np.integer]


@dataclass(frozen=True)
class Epochs:
    """How often the documents are read, and how many samples precede a last epoch kept apart."""

    count: int
    samples: int
    samples_before_last: int | None


def build(
    sizes: Int32s, documents: range, n_samples: int, sequence_length: int, seed: int
) -> IndexMaps:
    """The maps for at least `n_samples` samples of `sequence_length` + 1 tokens from `documents`.

    sizes: int32 (n,), tokens of every document of the corpus. The maps cover whole epochs, so they
    hold more samples than `n_samples`. Raises DataError when the documents hold no whole sample.
    """
    # mapped from an .idx they are unaligned, which numpy gathers slowly
    sizes = np.require(sizes, requirements="A")
    tokens = int(sizes[documents.start : documents.stop].sum(dtype=np.int64))
    if tokens <= sequence_length:
        raise DataError(
            f"documents {documents.start:,} to {documents.stop:,} hold {tokens:,} tokens, "
            f"but one sample takes {sequence_length + 1:,}",
            "widen the range, add data, or shorten the sequence",
        )
    epochs = epochs_of(tokens, n_samples, sequence_length)
    # the legacy generator, and its draws in Megatron's order: documents, then samples
    random = np.random.RandomState(seed)
    doc_idx = _doc_idx(documents, epochs, random)
    sample_idx = _sample_idx(sizes, doc_idx, sequence_length, epochs.samples)
    shuffle_idx = _shuffle_idx(epochs, random)
    return IndexMaps(tokens, epochs, doc_idx, sample_idx, shuffle_idx)


def epochs_of(tokens: int, n_samples: int, sequence_length: int) -> Epochs:
    """The fewest epochs that hold the samples; a last one that is little read stays apart.

    Megatron stops on an assertion where the last epoch gives one sample more than a single epoch
    would; here the same rule decides, and mixes it in.
    """

    def samples(epochs: int) -> int:
        return (epochs * tokens - 1) // sequence_length

    count = max(1, -(-(n_samples * sequence_length + 1) // tokens))
    apart = count > 1 and n_samples - samples(count - 1) < int(_JOIN_LAST_EPOCH_FROM * samples(1))
    return Epochs(count, samples(count), samples(count - 1) if apart else None)


def _doc_idx(documents: range, epochs: Epochs, random: np.random.RandomState) -> Int32s:
    once = np.arange(documents.start, documents.stop, dtype=np.int32)
    if epochs.count * len(once) > _INT32_MAX:
        raise DataError(
            f"{epochs.count} epochs of {len(once):,} documents are more than the"
            f" {_INT32_MAX:,} that Megatron counts",
            "train on fewer samples, or split the corpus",
        )
    together = epochs.count - (epochs.samples_before_last is not None)
    doc_idx = np.tile(once, epochs.count)
    for epoch_group in np.split(doc_idx, [together * len(once)]):
        random.shuffle(epoch_group)
    return doc_idx


def _sample_idx(sizes: Int32s, doc_idx: Int32s, sequence_length: int, n_samples: int) -> Int32s:
    """Where each sample starts: in the first document that ends after the sample's first token."""
    # the first row is 0, 0 even where the first document is empty
    sample_idx = np.zeros((n_samples + 1, 2), np.int32)
    placed = 1
    tokens_before = 0
    for block in range(0, len(doc_idx), _BLOCK_DOCUMENTS):
        block_sizes = sizes[doc_idx[block : block + _BLOCK_DOCUMENTS]]
        ends = np.cumsum(block_sizes, dtype=np.int64) + tokens_before
        tokens_before = int(ends[-1])
        stop = min(n_samples, (tokens_before - 1) // sequence_length) + 1
        first_tokens = np.arange(placed, stop, dtype=np.int64) * sequence_length
        within = np.searchsorted(ends, first_tokens, side="right")
        sample_idx[placed:stop, 0] = block + within
        sample_idx[placed:stop, 1] = first_tokens - (ends[within] - block_sizes[within])
        placed = max(placed, stop)
    return sample_idx


def _shuffle_idx(epochs: Epochs, random: np.random.RandomState) -> npt.NDArray[np.integer]:
    # Megatron's types; half the memory for all but the largest runs
    dtype = np.int64 if epochs.samples >= _UINT32_MAX - 1 else np.uint32
    shuffle_idx = np.arange(epochs.samples, dtype=dtype)
    together = epochs.samples
    if epochs.samples_before_last is not None:
        together = epochs.samples_before_last
    for epoch_group in np.split(shuffle_idx, [together]):
        random.shuffle(epoch_group)
    return shuffle_idx
