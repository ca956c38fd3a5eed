"""Identities of the arithmetic, and what the paper ran."""

import csv
from pathlib import Path
from typing import Literal

import pytest
from encore.model.config import ModelConfig
from encore.plan import sizing
from hypothesis import given
from hypothesis import strategies as st

PRESETS = list(csv.DictReader((Path(__file__).parents[1] / "data" / "presets.csv").open()))


def preset(row: dict[str, str]) -> ModelConfig:
    keys = ("n_layers", "d_model", "n_heads", "kv_size", "ffw_size")
    return ModelConfig(*(int(row[key]) for key in keys), 2048, 50304)


@pytest.mark.parametrize(
    ("tokens", "samples"),
    [(55 * 10**9, 26_855_469), (84 * 10**9, 41_015_625), (178 * 10**9, 86_914_062)],
)
def test_samples_equal_those_that_the_paper_ran(tokens: int, samples: int) -> None:
    assert sizing.train_samples(tokens, 2048) == samples


def test_exact_flops_without_attention_and_embedding_are_6nd_of_the_matrices() -> None:
    model = ModelConfig(2, 64, 4, 16, 256, 0, 0)
    matrices = 2 * (4 * 64 * 64 + 2 * 64 * 256)
    assert sizing.flops_exact(model, 1000, 0) == sizing.flops_6nd(matrices, 1000)


@pytest.mark.parametrize("row", PRESETS[9:45:5], ids=lambda row: row["preset"])
def test_exact_flops_are_within_a_third_of_6nd_for_the_papers_sizes(row: dict[str, str]) -> None:
    model = preset(row)
    estimate = sizing.flops_6nd(model.parameters, 10**9)
    assert 0.9 < sizing.flops_exact(model, 10**9, 2048) / estimate < 1.34


@given(st.integers(1, 8), st.sampled_from([1, 2, 4]), st.sampled_from(["bf16", "fp32"]))
def test_memory_falls_with_data_parallelism_and_recomputation(
    data: int, micro: int, precision: Literal["bf16", "fp32"]
) -> None:
    model = preset(PRESETS[30])
    plain = sizing.Layout(1, 1, data, micro, False, precision)
    more_ranks = sizing.Layout(1, 1, data * 2, micro, False, precision)
    recomputed = sizing.Layout(1, 1, data, micro, True, precision)
    total = sizing.training_memory(model, plain, 2048).total
    assert sizing.training_memory(model, more_ranks, 2048).total < total
    assert sizing.training_memory(model, recomputed, 2048).total < total


def test_activations_follow_korthikanti_for_a_standard_layer() -> None:
    # s·b·h·(34 + 5·a·s/h) bytes per layer: equation 2 of arXiv:2205.05198
    model = ModelConfig(1, 1024, 16, 64, 4096, 2048, 0)
    layout = sizing.Layout(1, 1, 1, 4, False)
    expected = 2048 * 4 * 1024 * (34 + 5 * 16 * 2048 // 1024)
    assert sizing.training_memory(model, layout, 2048).activations == expected
