"""Blending weighted datasets: how many samples each gives, and from which one each sample comes.

Sample by sample Megatron takes the dataset that is furthest behind its share: with s samples drawn,
c of them from a dataset of weight w, the one of largest w·max(s, 1) - c, the first among equals.
That is one long chain, and here many stretches of it ("lanes") advance together: each starts from
guessed counts, which the rule soon corrects, and is walked again from where the lane before it
really ended until all agree, which makes the result exact.
source: TurkuNLP 6732bc9 megatron/data/helpers.cpp (build_blending_indices), blendable_dataset.py
and dataset_utils.py (get_datasets_weights_and_num_samples)
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# how many lanes advance together at most, and how long each is at least
_LANES = 2048
_MIN_LANE_SAMPLES = 256
# Megatron builds each dataset half a percent longer than its share
_SPARE = 1.005

Float64s = npt.NDArray[np.float64]


def shares(weights: Sequence[float]) -> list[float]:
    """The weights, zero or more, divided by their sum, which is positive."""
    # one by one: from Python 3.12 on `sum` compensates rounding, and a last bit can decide a tie
    total = 0.0
    for weight in weights:
        total += weight
    return [weight / total for weight in weights]


def part_samples(share: float, n_samples: int) -> int:
    """How many samples a dataset is built for that gives `share` of a blend of `n_samples`."""
    return math.ceil(n_samples * share * _SPARE)


class Choices:
    """For each of `n_samples` of a blend: its dataset, and which of that dataset's samples it is.

    weights: each zero or more, as `shares` gives them; at most 255. One byte is kept per sample.
    """

    def __init__(self, weights: Sequence[float], n_samples: int) -> None:
        share = np.array(weights, dtype=np.float64)
        # `shares` has divided them already: Megatron does both, and the last bit follows from it
        share /= np.sum(share)
        self._n_samples = n_samples
        self._lane_samples = max(_MIN_LANE_SAMPLES, -(-n_samples // _LANES))
        n_lanes = -(-n_samples // self._lane_samples)
        self._datasets, self._counts_before = _walk(share, self._lane_samples, n_lanes)

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, i: int) -> tuple[int, int]:
        """(dataset, sample of that dataset) of sample `i` of the blend."""
        if not 0 <= i < self._n_samples:
            raise IndexError(f"sample {i} of a blend of {self._n_samples}")
        lane, step = divmod(i, self._lane_samples)
        dataset = int(self._datasets[lane, step])
        in_lane = np.count_nonzero(self._datasets[lane, :step] == dataset)
        return dataset, int(self._counts_before[dataset, lane]) + in_lane


def _walk(
    share: Float64s, lane_samples: int, n_lanes: int
) -> tuple[npt.NDArray[np.uint8], Float64s]:
    """datasets (lanes, samples of a lane), and counts (weights, lanes) at each lane's start."""
    first_samples = np.arange(n_lanes, dtype=np.float64) * lane_samples
    weights = share[:, None]
    # the guess: every dataset has given its share, and the largest takes up the rounding
    starts = np.rint(weights * first_samples)
    starts[share.argmax()] += first_samples - starts.sum(axis=0)
    ends = np.empty_like(starts)
    datasets = np.empty((n_lanes, lane_samples), np.uint8)
    lanes = np.arange(n_lanes)
    while lanes.size:
        counts = starts[:, lanes]
        for step in range(lane_samples):
            behind = weights * np.maximum(first_samples[lanes] + step, 1.0) - counts
            dataset = behind.argmax(axis=0)
            counts[dataset, np.arange(lanes.size)] += 1
            datasets[lanes, step] = dataset
        ends[:, lanes] = counts
        # the first lane's guess is right, so at least one more lane is settled with every pass
        lanes = np.flatnonzero((starts[:, 1:] != ends[:, :-1]).any(axis=0)) + 1
        starts[:, lanes] = ends[:, lanes - 1]
    return datasets, starts
