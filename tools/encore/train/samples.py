"""Training and validation samples: the same ones, in the same order, as Megatron-DeepSpeed reads.

Same data, seed, sequence length, sample counts and split give the same samples as its pretrain_gpt.py. One difference
is meant: where one group names a corpus twice, in different ranges with equal weights, Megatron reads the first range's
cached maps for both; here each part is its own range.
Source of the rules: TurkuNLP 6732bc9 megatron/data/gpt_dataset.py, data_samplers.py and megatron/training.py.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from encore import files
from encore.errors import DataError, UsageError
from encore.tokens.data_paths import Group, WeightedPrefix
from encore.tokens.indexed import IndexedDataset
from encore.train import blending, index_maps

_MAX_PARTS = 254

Tokens = npt.NDArray[np.int64]


class Dataset(Protocol):
    """Numbered samples, each int64 (sequence_length + 1,): an input, and a label one token further."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Tokens: ...


@dataclass(frozen=True)
class Shape:
    """What a set of samples is built for; token ids are checked against `vocabulary_size` where it is given."""

    n_samples: int
    sequence_length: int
    seed: int
    vocabulary_size: int | None = None


class Samples:
    """The samples of one range of one corpus: whole epochs, so at least as many as asked for."""

    def __init__(self, part: WeightedPrefix, shape: Shape) -> None:
        self._data = IndexedDataset(part.prefix)
        self._tokens_per_sample = shape.sequence_length + 1
        self._vocabulary_size = shape.vocabulary_size
        where = f"{part.prefix} {part.start}:{part.end}"
        documents = _documents(part, len(self._data), where)
        try:
            self.maps = index_maps.build(
                self._data.sizes, documents, shape.n_samples, shape.sequence_length, shape.seed
            )
        except DataError as error:
            raise DataError(f"{where}: {error}", error.hint) from None

    def __len__(self) -> int:
        return len(self.maps.shuffle_idx)

    def __getitem__(self, i: int) -> Tokens:
        if not 0 <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        place, offset = self.maps.sample_idx[self.maps.shuffle_idx[i]].tolist()
        sample = np.empty(self._tokens_per_sample, np.int64)
        filled = 0
        while filled < self._tokens_per_sample:
            rest = self._data.get(int(self.maps.doc_idx[place]), offset)[
                : self._tokens_per_sample - filled
            ]
            sample[filled : filled + len(rest)] = rest
            filled += len(rest)
            place, offset = place + 1, 0
        self._check(sample)
        return sample

    def _check(self, sample: Tokens) -> None:
        if self._vocabulary_size is None:
            return
        wrong = sample[
            sample.view(np.uint64) >= self._vocabulary_size
        ]  # seen as unsigned, a negative id is large
        if wrong.size:
            raise DataError(
                f"{self._data.prefix}.bin holds token id {wrong[0]}, but the vocabulary has {self._vocabulary_size}",
                "train with the tokenizer that this corpus was tokenized with",
            )


class Blend:
    """The first `n_samples` samples of several datasets mixed by weight."""

    def __init__(
        self, datasets: Sequence[Dataset], weights: Sequence[float], n_samples: int
    ) -> None:
        self._datasets = datasets
        self._choices = blending.Choices(weights, n_samples)

    def __len__(self) -> int:
        return len(self._choices)

    def __getitem__(self, i: int) -> Tokens:
        dataset, sample = self._choices[i]
        return self._datasets[dataset][sample]


@dataclass(frozen=True)
class SampleCounts:
    """How many samples each kind of dataset is built for; they decide epochs, and so the order of the samples."""

    train: int
    valid: int
    test: int


def sample_counts(
    train_samples: int, global_batch_size: int, eval_interval: int, eval_iters: int
) -> SampleCounts:
    """The counts of a run with a constant batch size: an evaluation every `eval_interval` steps, and one at the end."""
    evaluations = train_samples // global_batch_size // eval_interval + 1
    return SampleCounts(
        train_samples, evaluations * eval_iters * global_batch_size, eval_iters * global_batch_size
    )


def build_train(
    groups: Sequence[Group],
    n_samples: int,
    sequence_length: int,
    seed: int,
    vocabulary_size: int | None = None,
) -> Dataset:
    """The training dataset, from exactly one group; raises DataError where the data cannot give the samples."""
    ((_, dataset),) = build_valid(groups, n_samples, sequence_length, seed, vocabulary_size)
    return dataset


def build_valid(
    groups: Sequence[Group],
    n_samples: int,
    sequence_length: int,
    seed: int,
    vocabulary_size: int | None = None,
) -> list[tuple[str, Dataset]]:
    """Each validation (or test) group's name and dataset, all for the same number of samples; raises DataError."""
    shape = Shape(n_samples, sequence_length, seed, vocabulary_size)
    return [(group.name, _build(group, shape)) for group in groups]


def _build(group: Group, shape: Shape) -> Dataset:
    if len(group.parts) == 1:
        return Samples(group.parts[0], shape)
    if len(group.parts) > _MAX_PARTS:
        raise DataError(
            f"group {group.name!r} blends {len(group.parts)} parts",
            f"Megatron takes at most {_MAX_PARTS}",
        )
    weights = blending.shares([part.weight for part in group.parts])
    counts = [blending.part_samples(weight, shape.n_samples) for weight in weights]
    datasets = [
        Samples(part, replace(shape, n_samples=n))
        for part, n in zip(group.parts, counts, strict=True)
    ]
    return Blend(datasets, weights, shape.n_samples)


def _documents(part: WeightedPrefix, total: int, where: str) -> range:
    documents = range(round(part.start * float(total)), round(part.end * float(total)))
    if not documents:
        raise DataError(
            f"{where} is empty: none of the {total:,} documents lies in that range",
            "widen the range",
        )
    return documents


def batches(
    dataset: Dataset, consumed_samples: int, micro_batch_size: int, rank: int, world_size: int
) -> Iterator[Tokens]:
    """This rank's micro-batches, int64 (micro_batch_size, sequence_length + 1), from `consumed_samples` on.

    Neighbouring stretches of samples go to the ranks in turn; what does not fill a batch for all of them is dropped.
    """
    step = micro_batch_size * world_size
    for start in range(consumed_samples, len(dataset) - step + 1, step):
        first = start + rank * micro_batch_size
        yield np.stack([dataset[i] for i in range(first, first + micro_batch_size)])


def dump(path: Path, n: int, train: Dataset, valid: Sequence[tuple[str, Dataset]]) -> None:
    """Write the first `n` samples of each dataset, in reading order, into an .npz; each array int64 (n, sequence + 1).

    `train` is the training data, `valid` the first validation set, `valid_NAME` each further one. Raises UsageError
    when a dataset has fewer than `n` samples.
    """
    names = ["valid", *(f"valid_{name}" for name, _ in valid[1:])]
    datasets = {"train": train} | dict(zip(names, (dataset for _, dataset in valid), strict=False))
    for name, dataset in datasets.items():
        if not 0 < n <= len(dataset):
            raise UsageError(
                f"{n} samples cannot be dumped: {name} has {len(dataset)}",
                f"ask for 1 to {len(dataset)}",
            )
    arrays = {name: np.stack([dataset[i] for i in range(n)]) for name, dataset in datasets.items()}
    with files.atomic(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)
