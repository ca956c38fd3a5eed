"""Training and validation samples: the same ones, in the same order, as Megatron-DeepSpeed reads.

Same data, seed, sequence length, sample counts and split give the same samples as its
pretrain_gpt.py. One difference is intended: where one group names a corpus twice, in different
ranges with equal weights, Megatron reads the first range's cached maps for both; here each part is
its own range.
source: TurkuNLP 6732bc9 megatron/data/gpt_dataset.py, data_samplers.py and megatron/training.py
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

# Megatron keeps the dataset of each sample in a byte
_MAX_PARTS = 254

Tokens = npt.NDArray[np.int64]


class Dataset(Protocol):
    """Numbered samples, each int64 (sequence_length + 1,): an input, and its label one further."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Tokens: ...

    def same_order(self, n_samples: int) -> bool:
        """Whether it would begin with the same samples if it were built for `n_samples`."""
        ...


@dataclass(frozen=True)
class SampleSpec:
    """What a set of samples is built for; token ids must be below `vocabulary_size`, if given."""

    n_samples: int
    sequence_length: int
    seed: int
    vocabulary_size: int | None = None


class Samples:
    """The samples of one range of one corpus: whole epochs, so at least as many as specified."""

    def __init__(self, part: WeightedPrefix, spec: SampleSpec) -> None:
        """Raises DataError for a missing corpus, an empty range or too few tokens."""
        self._data = IndexedDataset(part.prefix)
        self._tokens_per_sample = spec.sequence_length + 1
        self._vocabulary_size = spec.vocabulary_size
        where = f"{part.prefix} {part.start}:{part.end}"
        documents = _documents(part, len(self._data), where)
        try:
            self.maps = index_maps.build(
                self._data.sizes, documents, spec.n_samples, spec.sequence_length, spec.seed
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
            document = self._data.get(int(self.maps.doc_idx[place]), offset)
            part = document[: self._tokens_per_sample - filled]
            sample[filled : filled + len(part)] = part
            filled += len(part)
            place += 1
            offset = 0
        self._check_vocabulary(sample)
        return sample

    def same_order(self, n_samples: int) -> bool:
        """See Dataset."""
        length = self._tokens_per_sample - 1
        return index_maps.epochs_of(self.maps.tokens, n_samples, length) == self.maps.epochs

    def _check_vocabulary(self, sample: Tokens) -> None:
        # on a GPU an id outside the embedding ends the process without naming the corpus
        if self._vocabulary_size is None:
            return
        # seen as unsigned, a negative id is large
        outside = sample[sample.view(np.uint64) >= self._vocabulary_size]
        if outside.size:
            raise DataError(
                f"{self._data.prefix}.bin holds token id {outside[0]},"
                f" but the vocabulary has {self._vocabulary_size}",
                "train with the tokenizer that this corpus was tokenized with",
            )


class Blend:
    """The first `n_samples` samples of several datasets mixed by weight."""

    def __init__(
        self, datasets: Sequence[Dataset], weights: Sequence[float], n_samples: int
    ) -> None:
        self._datasets = datasets
        self._weights = weights
        self._choices = blending.Choices(weights, n_samples)

    def __len__(self) -> int:
        return len(self._choices)

    def __getitem__(self, i: int) -> Tokens:
        dataset, sample = self._choices[i]
        return self._datasets[dataset][sample]

    def same_order(self, n_samples: int) -> bool:
        """See Dataset. The choices themselves do not depend on how many there are."""
        for dataset, weight in zip(self._datasets, self._weights, strict=True):
            if not dataset.same_order(blending.part_samples(weight, n_samples)):
                return False
        return True


@dataclass(frozen=True)
class SampleCounts:
    """How many samples each kind of dataset is built for.

    They decide the number of epochs, and so the order of the samples.
    """

    train: int
    valid: int
    test: int


def sample_counts(
    train_samples: int, global_batch_size: int, eval_interval: int, eval_iters: int
) -> SampleCounts:
    """The counts of a run: an evaluation every `eval_interval` steps, and one at the end."""
    evaluations = train_samples // global_batch_size // eval_interval + 1
    evaluation_samples = eval_iters * global_batch_size
    return SampleCounts(train_samples, evaluations * evaluation_samples, evaluation_samples)


def build_train(
    groups: Sequence[Group],
    n_samples: int,
    sequence_length: int,
    seed: int,
    vocabulary_size: int | None = None,
) -> Dataset:
    """The training dataset, from exactly one group.

    Raises DataError where the data cannot give the samples.
    """
    ((_, dataset),) = build_valid(groups, n_samples, sequence_length, seed, vocabulary_size)
    return dataset


def build_valid(
    groups: Sequence[Group],
    n_samples: int,
    sequence_length: int,
    seed: int,
    vocabulary_size: int | None = None,
) -> list[tuple[str, Dataset]]:
    """Each validation (or test) group's name and dataset, all for the same number of samples.

    Raises DataError where the data cannot give the samples.
    """
    spec = SampleSpec(n_samples, sequence_length, seed, vocabulary_size)
    return [(group.name, _build(group, spec)) for group in groups]


def _build(group: Group, spec: SampleSpec) -> Dataset:
    if len(group.parts) == 1:
        return Samples(group.parts[0], spec)
    if len(group.parts) > _MAX_PARTS:
        raise DataError(
            f"group {group.name!r} blends {len(group.parts)} parts",
            f"Megatron reads at most {_MAX_PARTS}; merge some with tools/bins.py merge",
        )
    # each part is built a little longer than its share, as the blend may overdraw it
    weights = blending.shares([part.weight for part in group.parts])
    datasets = []
    for part, weight in zip(group.parts, weights, strict=True):
        n_samples = blending.part_samples(weight, spec.n_samples)
        datasets.append(Samples(part, replace(spec, n_samples=n_samples)))
    return Blend(datasets, weights, spec.n_samples)


def _documents(part: WeightedPrefix, total: int, where: str) -> range:
    documents = range(round(part.start * float(total)), round(part.end * float(total)))
    if not documents:
        raise DataError(
            f"{where} is empty: none of the {total:,} documents lies in that range",
            "widen the range in the data-path file",
        )
    return documents


def batches(
    dataset: Dataset, consumed_samples: int, micro_batch_size: int, rank: int, world_size: int
) -> Iterator[Tokens]:
    """This rank's micro-batches, int64 (micro_batch_size, sequence_length + 1).

    They begin after `consumed_samples`. Neighbouring stretches of samples go to the ranks in turn;
    what does not fill a batch for all of them is dropped.
    """
    # Megatron's sampler drops an incomplete last batch, too
    step = micro_batch_size * world_size
    for start in range(consumed_samples, len(dataset) - step + 1, step):
        first = start + rank * micro_batch_size
        yield np.stack([dataset[i] for i in range(first, first + micro_batch_size)])


def dump(path: Path, n: int, train: Dataset, valid: Sequence[tuple[str, Dataset]]) -> None:
    """Write the first `n` samples of each dataset, in reading order, into an .npz.

    Each array is int64 (n, sequence_length + 1): `train` is the training data, `valid` the first
    validation set, `valid_NAME` each further one. Raises UsageError for more than there are.
    """
    datasets = {"train": train}
    for name, dataset in valid:
        key = "valid" if len(datasets) == 1 else f"valid_{name}"
        datasets[key] = dataset
    arrays = {}
    for key, dataset in datasets.items():
        if not 0 < n <= len(dataset):
            raise UsageError(
                f"{n} samples cannot be dumped: {key} has {len(dataset)}",
                f"give 1 to {len(dataset)}",
            )
        arrays[key] = np.stack([dataset[i] for i in range(n)])
    with files.atomic(path) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **arrays)  # type: ignore[arg-type]  # its stub: allow_pickle
