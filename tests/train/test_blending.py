"""The blend is Megatron's greedy rule to the last bit, however it is computed."""

from pathlib import Path

import numpy as np
import pytest
from encore.train import blending
from encore.train.blending import Choices, part_samples, shares
from hypothesis import given
from hypothesis import strategies as st

GOLDEN = np.load(Path(__file__).resolve().parents[1] / "data/megatron_samples/golden.npz")


def plain(weights, n_samples):
    """The rule as it is stated, one sample after the other."""
    divided = np.array(weights) / np.sum(np.array(weights))
    counts, choices = [0] * len(weights), []
    for s in range(n_samples):
        behind = [
            float(w) * max(float(s), 1.0) - float(c) for w, c in zip(divided, counts, strict=True)
        ]
        dataset = behind.index(max(behind))
        choices.append((dataset, counts[dataset]))
        counts[dataset] += 1
    return choices


# shares that tie, that round, that are tiny and that are nothing
weight = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.3, 0.5, 1.0, 2.0, 1e-3, 1e-5]) | st.floats(0, 1)
weights = st.lists(weight, min_size=1, max_size=9).filter(lambda many: sum(many) > 1e-9)


@pytest.mark.parametrize("case", range(10))
def test_choices_and_counts_equal_megatrons(case):
    stored = {
        name: GOLDEN[f"blend{case}_{name}"]
        for name in ("weights", "part_samples", "datasets", "samples")
    }
    divided = shares(stored["weights"].tolist())
    n_samples = len(stored["datasets"])
    assert [part_samples(share, n_samples) for share in divided] == stored["part_samples"].tolist()
    expected = zip(stored["datasets"].tolist(), stored["samples"].tolist(), strict=True)
    assert list(Choices(divided, n_samples)) == list(expected)


@given(weights, st.integers(0, 300), st.integers(1, 20), st.integers(1, 40))
def test_choices_follow_the_plain_rule_in_any_number_of_lanes(many, n_samples, lanes, lane_samples):
    divided = shares(many)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blending, "_LANES", lanes)
        patch.setattr(blending, "_MIN_LANE_SAMPLES", lane_samples)
        choices = Choices(divided, n_samples)
    assert len(choices) == n_samples
    assert list(choices) == plain(divided, n_samples)


@given(weights, st.integers(0, 3000))
def test_no_dataset_is_asked_for_more_samples_than_it_is_built_for(many, n_samples):
    divided = shares(many)
    counts = np.bincount(
        [dataset for dataset, _ in Choices(divided, n_samples)], minlength=len(many)
    )
    # a corpus of weight zero may still give one sample: it is built for a whole epoch
    assert all(
        count <= max(1, part_samples(share, n_samples))
        for count, share in zip(counts, divided, strict=True)
    )


@given(weights, st.integers(1, 500), st.integers(0, 500))
def test_a_shorter_blend_is_the_start_of_a_longer_one(many, n_samples, more):
    longer = Choices(shares(many), n_samples + more)
    assert list(Choices(shares(many), n_samples)) == [longer[i] for i in range(n_samples)]


def test_long_blends_keep_their_proportions():
    choices = Choices([0.6, 0.3, 0.1], 50_000)
    assert dict(choices[i] for i in range(49_980, 50_000)) == {0: 29_999, 1: 14_999, 2: 4_999}


def test_outside_the_blend_there_is_nothing():
    choices = Choices([1.0], 3)
    for i in (-1, 3):
        with pytest.raises(IndexError):
            choices[i]
