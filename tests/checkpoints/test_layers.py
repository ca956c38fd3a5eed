"""Layers: what they hold, how they are divided, the order of the fused rows, the padding."""

from dataclasses import asdict, replace

import pytest
import torch
from encore.checkpoints import inert_pickle, layers, model_states, tensor_parallel
from encore.checkpoints.trainer_format import RowOrder
from encore.errors import CheckpointError, UsageError
from encore.model.config import ModelConfig
from encore.model.gpt import GPT
from helpers.megatron_models import SMALL, parts, weights
from hypothesis import given
from hypothesis import strategies as st


def as_layer(
    held: dict[str, torch.Tensor], number: int, config: ModelConfig = SMALL
) -> layers.Layer:
    def read(name: str, span: tuple[int, int] | None) -> torch.Tensor:
        return held[name] if span is None else tensor_parallel.part(held[name], name, *span)

    return layers.Layer(read, held, layers.shapes(config, number), "there: layer 3")


@pytest.mark.parametrize("number", [1, 3, 4, 6])
@pytest.mark.parametrize("tensor", [1, 2, 4])
def test_parts_are_megatrons_and_together_the_whole(number: int, tensor: int) -> None:
    layer = weights(SMALL)[number]
    read = as_layer(layer, number)
    divided = [
        {name: layers.rank_part(read, name, rank, tensor) for name in layer}
        for rank in range(tensor)
    ]
    for rank, part in enumerate(divided):
        expected = parts(layer, rank, tensor)
        assert (
            all(torch.equal(part[name], expected[name]) for name in expected)
            and part.keys() == expected.keys()
        )
        assert all(value.untyped_storage().nbytes() == value.nbytes for value in part.values())
    for name, value in layer.items():
        axis = tensor_parallel.split_axis(name)
        if axis is None:
            assert all(torch.equal(part[name], value) for part in divided)
        else:
            assert torch.equal(torch.cat([part[name] for part in divided], axis), value)


def test_shapes_are_those_of_the_trainers_model() -> None:
    config = replace(SMALL, num_attention_heads=3, kv_channels=16)
    for number, module in GPT.empty(config).layer_modules().items():
        held = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        assert layers.shapes(config, number) == held


@pytest.mark.parametrize("order", list(RowOrder))
def test_every_row_order_becomes_the_models(order: RowOrder) -> None:
    """A row's number says which it is: (head, q|k|v, channel) of 3 heads with 5 channels."""
    by_head = torch.arange(45).view(3, 3, 5)
    stored_forms = {
        RowOrder.HEADS: by_head,
        RowOrder.THIRDS: by_head.transpose(0, 1),
        RowOrder.CHANNELS: by_head.transpose(1, 2),
    }
    stored = stored_forms[order].reshape(45)
    ordered = layers.by_head("self_attention.query_key_value.bias", stored, 3, order)
    assert ordered.tolist() == list(range(45))
    assert torch.equal(layers.by_head("mlp.dense_h_to_4h.bias", stored, 3, order), stored)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"mlp.dense_4h_to_h.bias": None}, "there: layer 3 lacks mlp.dense_4h_to_h.bias"),
        ({"mlp.gate.weight": torch.ones(1)}, "mlp.gate.weight, which is no weight of a GPT"),
    ],
)
def test_a_layer_that_is_not_a_gpts_is_refused_by_name(
    change: dict[str, torch.Tensor | None], word: str
) -> None:
    layer = {
        name: value for name, value in (weights(SMALL)[3] | change).items() if value is not None
    }
    with pytest.raises(CheckpointError, match=word):
        dict(as_layer(layer, 3))


@pytest.mark.parametrize(
    ("feature", "word"),
    [
        ({"position_embedding_type": "rotary"}, "rotary"),
        (
            {"position_embedding_type": type("P", (inert_pickle.StandIn,), {"name": "x"})(3)},
            "position_embedding_type 3",
        ),
        ({"glu_activation": "swiglu"}, "glu_activation"),
        ({"swiglu": True}, "swiglu"),
        ({"normalization": "rmsnorm"}, "rmsnorm"),
        ({"untie_embeddings_and_output_weights": True}, "untie"),
        ({"num_key_value_heads": 2}, "num_key_value_heads 2"),
        ({"squared_relu": True}, "squared_relu"),
        ({"add_position_embedding": False}, "add_position_embedding"),
        ({"num_experts_switch": 4}, "num_experts_switch"),
        ({"num_experts": [4]}, "num_experts"),
        ({"ds_sequence_parallel_fpdt": True}, "fpdt"),
        ({"retro_add_retriever": True}, "retro"),
        ({"layernorm_epsilon": "1e-5"}, "layernorm_epsilon '1e-5'"),
        ({"hidden_dropout": float("nan")}, "hidden_dropout nan"),
        ({"num_layers": 10.5}, "num_layers"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"padded_vocab_size": 0}, "padded_vocab_size"),
    ],
)
def test_another_model_is_refused_by_name(feature: dict[str, object], word: str) -> None:
    with pytest.raises(CheckpointError, match=word):
        model_states.model_config(asdict(SMALL) | feature)


@pytest.mark.parametrize(
    ("said", "tanh"),
    [
        ({"bias_gelu_fusion": True}, True),
        ({"bias_gelu_fusion": False}, False),
        ({"bias_gelu_fusion": False, "openai_gelu": True}, True),
    ],
)
def test_gelu_is_the_tanh_form_where_training_used_it(said: dict[str, bool], tanh: bool) -> None:
    assert model_states.model_config(asdict(SMALL) | said).bias_gelu_fusion == tanh


@given(
    vocabulary=st.integers(1, 60_000),
    divisor=st.sampled_from([1, 64, 128]),
    tensor=st.integers(1, 16),
)
def test_padding_is_the_least_multiple(vocabulary: int, divisor: int, tensor: int) -> None:
    size = layers.padded_size(vocabulary, {"make_vocab_size_divisible_by": divisor}, tensor)
    assert size % (divisor * tensor) == 0 and vocabulary <= size < vocabulary + divisor * tensor


def test_padding_is_gpt2s_own() -> None:
    assert [layers.padded_size(50_257, {}, tensor) for tensor in (1, 2, 4)] == [
        50_304,
        50_432,
        50_688,
    ]
    assert layers.padded_size(50_257, {"pad_vocab_size_to": 51_200}, 4) == 51_200
    with pytest.raises(UsageError, match="51200"):
        layers.padded_size(50_257, {"pad_vocab_size_to": 51_200}, 3)


def test_padding_weighs_no_more_than_average_words() -> None:
    """Logits far below zero, as GPT-2's are: zeros would take nearly all of the probability."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(1000, 16, generator=generator) + 3
    hidden = -4 * torch.ones(16)
    config = replace(SMALL, hidden_size=16, padded_vocab_size=1000)
    layer = as_layer(
        {layers.WORDS: words, "position_embeddings.weight": torch.ones(24, 16)}, 1, config
    )
    padded = torch.cat([layers.words_part(layer, 1000, 1024, rank, 4) for rank in range(4)])
    assert torch.equal(padded[:1000], words) and len(padded) == 1024
    with_it, without = (torch.logsumexp(rows @ hidden, 0) for rows in (padded, words))
    assert 0 <= with_it - without <= 24 / 1000 + 1e-4
    again = [layers.words_part(layer, 900, 960, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat(again), words[:960])


@pytest.mark.parametrize(("tensor", "pipeline"), [(3, 1), (0, 1), (-1, 1), (1, 3), (1, 0), (8, 1)])
def test_degrees_that_do_not_fit_are_usage_errors(tensor: int, pipeline: int) -> None:
    with pytest.raises(UsageError):
        tensor_parallel.check_degrees(SMALL, tensor, pipeline)
