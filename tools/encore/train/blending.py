"""Blending weighted datasets: how many samples each gives, and from which one every sample of the blend comes.

Sample by sample Megatron takes the dataset that is furthest behind its share: with s samples taken, c of them from a
dataset of weight w, the one of largest w·max(s, 1) - c, the first among equals. That is one long chain, and here many
stretches of it ("lanes") advance together: each starts from guessed counts, which the rule soon corrects, and is
walked again from where the lane before it really ended until all agree, which makes the result exact.
Source of the rules: TurkuNLP 6732bc9 megatron/data/helpers.cpp (build_blending_indices), blendable_dataset.py and
dataset_utils.py (get_datasets_weights_and_num_samples).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_LANES = 2048
_MIN_LANE_SAMPLES = 256
_SPARE = 1.005  # Megatron builds each dataset half a percent longer than its share

Float64s = npt.NDArray[np.float64]


def shares(weights: Sequence[float]) -> list[float]:
    """The weights, zero or more, divided by their sum, which is positive.

    Summed one by one: `sum` compensates rounding from Python 3.12 on, and a last bit can decide a tie.
    """
    total = 0.0
    for weight in weights:
        total += weight
    return [weight / total for weight in weights]


def part_samples(share: float, n_samples: int) -> int:
    """How many samples a dataset is built for when a blend of `n_samples` takes `share` of them from it."""
    return math.ceil(n_samples * share * _SPARE)


class Choices:
    """For each of `n_samples` of a blend: the dataset that it comes from, and which of that dataset's samples it is.

    weights: each zero or more, as `shares` gives them; at most 255. One byte is kept per sample.
    """

    def __init__(self, weights: Sequence[float], n_samples: int) -> None:
        share = np.array(weights, dtype=np.float64)
        share /= np.sum(
            share
        )  # of weights that `shares` has divided already: Megatron does both, to the last bit
        self._lane_samples = max(_MIN_LANE_SAMPLES, -(-n_samples // _LANES))
        self._datasets, self._taken_before = _walk(
            share, self._lane_samples, -(-n_samples // self._lane_samples)
        )
        self._n_samples = n_samples

    def __len__(self) -> int:
        return self._n_samples

    def __getitem__(self, i: int) -> tuple[int, int]:
        """(dataset, sample of that dataset) of sample `i` of the blend."""
        if not 0 <= i < self._n_samples:
            raise IndexError(f"sample {i} of a blend of {self._n_samples}")
        lane, step = divmod(i, self._lane_samples)
        dataset = int(self._datasets[lane, step])
        in_lane = np.count_nonzero(self._datasets[lane, :step] == dataset)
        return dataset, int(self._taken_before[dataset, lane]) + in_lane


def _walk(
    share: Float64s, lane_samples: int, n_lanes: int
) -> tuple[npt.NDArray[np.uint8], Float64s]:
    """datasets (lanes, samples of a lane), and taken (weights, lanes): the counts at each lane's start."""
    first_samples = np.arange(n_lanes, dtype=np.float64) * lane_samples
    weights = share[:, None]
    taken = np.rint(weights * first_samples)
    taken[share.argmax()] += first_samples - taken.sum(axis=0)
    taken_at_end = np.empty_like(taken)
    datasets = np.empty((n_lanes, lane_samples), np.uint8)
    lanes = np.arange(n_lanes)
    while lanes.size:
        counts = taken[:, lanes]
        for step in range(lane_samples):
            chosen = (weights * np.maximum(first_samples[lanes] + step, 1.0) - counts).argmax(
                axis=0
            )
            counts[chosen, np.arange(lanes.size)] += 1
            datasets[lanes, step] = chosen
        taken_at_end[:, lanes] = counts
        lanes = np.flatnonzero((taken[:, 1:] != taken_at_end[:, :-1]).any(axis=0)) + 1
        taken[:, lanes] = taken_at_end[:, lanes - 1]
    return datasets, taken
