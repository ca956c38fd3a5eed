"""Counts against the published ones; identities of the arithmetic."""

import csv
from pathlib import Path

import pytest
from encore.plan import sizing
from hypothesis import given
from hypothesis import strategies as st

PRESETS = list(csv.DictReader((Path(__file__).parents[1] / "data" / "presets.csv").open()))


def dimensions(row: dict[str, str], vocabulary: int) -> sizing.Dimensions:
    keys = ("n_layers", "d_model", "ffw_size", "kv_size", "n_heads")
    return sizing.Dimensions(*(int(row[key]) for key in keys), vocabulary, 2048)


def test_there_are_54_presets() -> None:
    assert len(PRESETS) == 54


@pytest.mark.parametrize("row", PRESETS, ids=lambda row: row["preset"])
def test_parameters_equal_the_published_counts(row: dict[str, str]) -> None:
    assert sizing.parameters(dimensions(row, 50257)) == int(row["params_gpt2_v50257"])
    assert sizing.parameters(dimensions(row, 50304)) == int(row["params_gpt2_v50304"])


def test_six_shapes_have_an_attention_of_another_size_than_the_model() -> None:
    odd = [
        row["preset"] for row in PRESETS if dimensions(row, 1).attention_size != int(row["d_model"])
    ]
    assert len(odd) == 6


@pytest.mark.parametrize(("tensor_parallel", "rows"), [(1, 50304), (2, 50432), (8, 51200)])
def test_gpt2s_vocabulary_is_padded_as_megatron_pads_it(tensor_parallel: int, rows: int) -> None:
    assert sizing.padded_vocabulary(50257, tensor_parallel) == rows


@pytest.mark.parametrize(
    ("tokens", "samples"),
    [(55 * 10**9, 26_855_469), (84 * 10**9, 41_015_625), (178 * 10**9, 86_914_062)],
)
def test_samples_equal_those_that_the_paper_ran(tokens: int, samples: int) -> None:
    assert sizing.train_samples(tokens, 2048) == samples


def test_exact_flops_without_attention_and_embedding_are_6nd_of_the_matrices() -> None:
    model = sizing.Dimensions(2, 64, 256, 16, 4, 0, 0)
    matrices = 2 * (4 * 64 * 64 + 2 * 64 * 256)
    assert sizing.flops_exact(model, 1000, 0) == sizing.flops_6nd(matrices, 1000)


@pytest.mark.parametrize("row", PRESETS[9:45:5], ids=lambda row: row["preset"])
def test_exact_flops_are_within_a_third_of_6nd_for_the_papers_sizes(row: dict[str, str]) -> None:
    model = dimensions(row, 50304)
    assert (
        0.9
        < sizing.flops_exact(model, 10**9, 2048) / sizing.flops_6nd(sizing.parameters(model), 10**9)
        < 1.34
    )


@given(st.integers(1, 8), st.sampled_from([1, 2, 4]), st.booleans())
def test_memory_falls_with_data_parallelism_and_recomputation(
    data: int, micro: int, bf16: bool
) -> None:
    model = dimensions(PRESETS[30], 50304)
    plain = sizing.Layout(1, 1, data, micro, False, bf16)
    more_ranks = sizing.Layout(1, 1, data * 2, micro, False, bf16)
    recomputed = sizing.Layout(1, 1, data, micro, True, bf16)
    total = sizing.training_memory(model, plain, 2048).total
    assert sizing.training_memory(model, more_ranks, 2048).total < total
    assert sizing.training_memory(model, recomputed, 2048).total < total


def test_activations_follow_korthikanti_for_a_standard_layer() -> None:
    # s·b·h·(34 + 5·a·s/h) bytes per layer: equation 2 of arXiv:2205.05198
    model = sizing.Dimensions(1, 1024, 4096, 64, 16, 0, 2048)
    layout = sizing.Layout(1, 1, 1, 4, False)
    expected = 2048 * 4 * 1024 * (34 + 5 * 16 * 2048 // 1024)
    assert sizing.training_memory(model, layout, 2048).activations == expected
