"""A model's shape: counts against the published ones and the real model, Megatron's numbers."""

import csv
from pathlib import Path

import pytest
from encore.model.config import ModelConfig, layer_numbers, padded_vocabulary
from encore.model.gpt import GPT
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

PRESETS = list(csv.DictReader((Path(__file__).parents[1] / "data" / "presets.csv").open()))


def preset(row: dict[str, str], vocabulary: int) -> ModelConfig:
    keys = ("n_layers", "d_model", "n_heads", "kv_size", "ffw_size")
    return ModelConfig(*(int(row[key]) for key in keys), 2048, vocabulary)


@st.composite
def shapes(draw: st.DrawFn) -> ModelConfig:
    sizes = {"num_layers": draw(st.integers(1, 3))}
    for name in ("num_attention_heads", "kv_channels"):
        sizes[name] = draw(st.integers(1, 4))
    for name in ("hidden_size", "ffn_hidden_size", "max_position_embeddings", "padded_vocab_size"):
        sizes[name] = draw(st.integers(1, 20))
    return ModelConfig(**sizes)


def test_there_are_54_presets() -> None:
    assert len(PRESETS) == 54


@pytest.mark.parametrize("row", PRESETS, ids=lambda row: row["preset"])
def test_parameters_equal_the_published_counts(row: dict[str, str]) -> None:
    assert preset(row, 50257).parameters == int(row["params_gpt2_v50257"])
    assert preset(row, 50304).parameters == int(row["params_gpt2_v50304"])


def test_six_shapes_have_an_attention_of_another_size_than_the_model() -> None:
    configs = [preset(row, 1) for row in PRESETS]
    assert sum(config.attention_size != config.hidden_size for config in configs) == 6


@examples(30)
@given(shapes())
def test_counts_are_those_of_the_real_model(config: ModelConfig) -> None:
    model = GPT.empty(config)
    embedding = sum(tensor.numel() for tensor in model.embedding.parameters())
    elements = sum(tensor.numel() for tensor in model.parameters())
    assert config.parameters == elements
    assert config.embedding_parameters == embedding
    assert config.parameters_without_embeddings == elements - embedding
    assert config.layer_parameters == sum(t.numel() for t in model.layers[0].parameters())


@examples(20)
@given(shapes())
def test_every_module_with_weights_has_a_number(config: ModelConfig) -> None:
    numbers = layer_numbers(config.num_layers)
    assert numbers == [1, *range(3, 3 + config.num_layers), 4 + config.num_layers]
    assert list(GPT.empty(config).layer_modules()) == numbers


@pytest.mark.parametrize(("tensor_parallel", "rows"), [(1, 50304), (2, 50432), (8, 51200)])
def test_gpt2s_vocabulary_is_padded_as_megatron_pads_it(tensor_parallel: int, rows: int) -> None:
    assert padded_vocabulary(50257, tensor_parallel=tensor_parallel) == rows


@given(st.integers(1, 10**6), st.integers(1, 256), st.integers(1, 16))
def test_padding_is_the_least_that_every_rank_can_share(
    vocabulary: int, divisible_by: int, tensor_parallel: int
) -> None:
    rows = padded_vocabulary(vocabulary, divisible_by, tensor_parallel)
    assert rows % (divisible_by * tensor_parallel) == 0
    assert 0 <= rows - vocabulary < divisible_by * tensor_parallel
