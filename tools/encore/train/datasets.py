"""A run's datasets: what its data-path files name, for as many samples as its arguments need."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from encore.errors import UsageError
from encore.tokens import data_paths
from encore.train import samples
from encore.train.samples import Dataset

Named = list[tuple[str, Dataset]]


@dataclass(frozen=True)
class Datasets:
    """Training data, and the named validation and test sets; both empty when --eval-iters is 0."""

    train: Dataset
    valid: Named
    test: Named


def build(args: argparse.Namespace) -> Datasets:
    """Raises DataError where a data-path file or corpus is missing or damaged."""
    counts = samples.sample_counts(
        args.train_samples, args.global_batch_size, args.eval_interval, args.eval_iters
    )

    def named(path: Path | None, n_samples: int) -> Named:
        if path is None or n_samples == 0:
            return []
        groups = data_paths.read(path)
        return samples.build_valid(groups, n_samples, args.seq_length, args.seed, args.vocab_size)

    groups = data_paths.read(args.train_weighted_split_paths_path, one_group=True)
    return Datasets(
        samples.build_train(groups, counts.train, args.seq_length, args.seed, args.vocab_size),
        named(args.valid_weighted_split_paths_path, counts.valid),
        named(args.test_weighted_split_paths_path, counts.test),
    )


def dump(args: argparse.Namespace) -> tuple[int, Path]:
    """Write the file of --dump-samples; returns the number of samples and the file."""
    text, name = args.dump_samples
    path = Path(name)
    if not (text.isascii() and text.isdigit()) or path.suffix != ".npz":
        raise UsageError(
            f"--dump-samples {text} {path} is not a number and a .npz file",
            "for example: --dump-samples 8 samples.npz",
        )
    count = int(text)
    data = build(args)
    samples.dump(path, count, data.train, data.valid)
    return count, path
