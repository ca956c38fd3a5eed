"""The shape of a Megatron GPT, and what follows from it: sizes, parameter counts, layer numbers.

The model has learned positions, tied embeddings, biases and pre-layernorm. The attention's inner
size is heads × channels; in some of the paper's shapes it differs from the hidden size.
No torch here: plans are made on login nodes that have none.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from encore.errors import CheckpointError

HINT = "use a checkpoint of a GPT with learned positions and GELU"

_SIZES = (
    "num_layers",
    "hidden_size",
    "num_attention_heads",
    "max_position_embeddings",
    "padded_vocab_size",
)
# None and 0 stand for what follows from the sizes above
_DERIVED_SIZES = ("kv_channels", "ffn_hidden_size", "checkpoint_num_layers")
_SWITCHES = ("bias_gelu_fusion", "openai_gelu", "checkpoint_activations")
# no model is near; a product of two still fits an int64
LARGEST_SIZE = 1 << 24
_FRACTIONS = ("layernorm_epsilon", "init_method_std", "attention_dropout", "hidden_dropout")
# Features of the forks that this model lacks, each with the values that mean "not used".
# source: arguments.py of TurkuNLP 6732bc9 and of deepspeedai 4efb479
_OFF = (False, None)
_UNUSED: dict[str, tuple[Any, ...]] = {
    "glu_activation": _OFF,
    "embed_layernorm": _OFF,
    "apply_residual_connection_post_layernorm": _OFF,
    "onnx_safe": _OFF,
    "swiglu": _OFF,
    "normalization": ("layernorm", "LayerNorm", None),
    "apply_layernorm_1p": _OFF,
    "add_bias_linear": (True, None),
    "add_position_embedding": (True, None),
    "use_rotary_position_embeddings": _OFF,
    "squared_relu": _OFF,
    "num_experts_switch": _OFF,
    "retro_add_retriever": _OFF,
    "ds_sequence_parallel_fpdt": _OFF,
    "untie_embeddings_and_output_weights": _OFF,
    "num_experts": ([1], 1, None),
    "multi_query_attention": _OFF,
    # the enumeration PositionEmbeddingType, by name or by value
    "position_embedding_type": ("absolute", 2, None),
}

# Megatron-DeepSpeed's pipeline numbers its layers. 0, 2 and the one before the final layernorm
# are conversions without parameters, so that no file has their numbers. deepspeedai's fork numbers
# otherwise (encore.checkpoints.trainer_format).
# source: TurkuNLP 6732bc9 megatron/model/gpt_model.py, GPTModelPipe
EMBEDDING_NUMBER = 1
FIRST_BLOCK_NUMBER = 3


def final_layernorm_number(num_layers: int) -> int:
    """The number of the final layernorm in a model of `num_layers` transformer layers."""
    return FIRST_BLOCK_NUMBER + num_layers + 1


def layer_numbers(num_layers: int) -> list[int]:
    """The numbers of the layers with weights: embedding, transformer layers, final layernorm."""
    blocks = range(FIRST_BLOCK_NUMBER, FIRST_BLOCK_NUMBER + num_layers)
    return [EMBEDDING_NUMBER, *blocks, final_layernorm_number(num_layers)]


def padded_vocabulary(vocabulary: int, divisible_by: int = 128, tensor_parallel: int = 1) -> int:
    """The rows of the word embedding: the vocabulary, rounded up to equal shares for all ranks.

    source: TurkuNLP 6732bc9 megatron/tokenizer/tokenizer.py, _vocab_size_with_padding
    """
    multiple = divisible_by * tensor_parallel
    return -(-vocabulary // multiple) * multiple


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model and its dropout; field names are Megatron's argument names."""

    num_layers: int
    hidden_size: int
    num_attention_heads: int
    kv_channels: int
    ffn_hidden_size: int
    max_position_embeddings: int
    padded_vocab_size: int
    layernorm_epsilon: float = 1e-5
    init_method_std: float = 0.02
    attention_dropout: float = 0.1
    hidden_dropout: float = 0.1
    # Megatron's GELU is the tanh approximation only where it is fused with the bias
    bias_gelu_fusion: bool = True
    checkpoint_activations: bool = False
    checkpoint_num_layers: int = 1

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "ModelConfig":
        """From Megatron's arguments, given on the command line or read from a checkpoint.

        Raises CheckpointError for impossible sizes and for features that this model lacks.
        source: TurkuNLP 6732bc9 megatron/arguments.py (defaults), model/transformer.py
        (--openai-gelu is the tanh form)
        """
        _check_numbers(arguments)
        _check_features(arguments)
        hidden = arguments["hidden_size"]
        values = {name: arguments[name] for name in _field_names() if name in arguments}
        if not values.get("kv_channels"):
            values["kv_channels"] = hidden // values["num_attention_heads"]
        if not values.get("ffn_hidden_size"):
            values["ffn_hidden_size"] = 4 * hidden
        if not values.get("checkpoint_num_layers"):
            values["checkpoint_num_layers"] = 1
        fused = values.get("bias_gelu_fusion", True)
        values["bias_gelu_fusion"] = bool(fused or arguments.get("openai_gelu"))
        model = cls(**values)
        if not _is_size(model.attention_size):
            raise CheckpointError(
                f"the model's arguments say {model.num_attention_heads} heads of"
                f" {model.kv_channels} channels at hidden_size {hidden}",
                HINT,
            )
        return model

    @property
    def attention_size(self) -> int:
        """The attention's inner size, heads × channels."""
        return self.num_attention_heads * self.kv_channels

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the word and position embeddings."""
        return (self.padded_vocab_size + self.max_position_embeddings) * self.hidden_size

    @property
    def layer_parameters(self) -> int:
        """Parameters of one transformer layer, biases included."""
        layernorms = 2 * 2 * self.hidden_size
        query_key_value = 3 * self.attention_size * (self.hidden_size + 1)
        projection = self.hidden_size * (self.attention_size + 1)
        wide = self.ffn_hidden_size * (self.hidden_size + 1)
        narrow = self.hidden_size * (self.ffn_hidden_size + 1)
        return layernorms + query_key_value + projection + wide + narrow

    @property
    def parameters_without_embeddings(self) -> int:
        """Parameters of the transformer layers and the final layernorm."""
        return self.num_layers * self.layer_parameters + 2 * self.hidden_size

    @property
    def parameters(self) -> int:
        """All parameters; the output projection shares the word embeddings."""
        return self.embedding_parameters + self.parameters_without_embeddings


def _field_names() -> list[str]:
    return [field.name for field in fields(ModelConfig)]


def _is_size(value: Any) -> bool:
    # a bool is an int, too
    return type(value) is int and 0 < value < LARGEST_SIZE


def _check_numbers(arguments: Mapping[str, Any]) -> None:
    wrong = [name for name in _SIZES if not _is_size(arguments.get(name))]
    for name in _DERIVED_SIZES:
        value = arguments.get(name)
        if value is not None and value != 0 and not _is_size(value):
            wrong.append(name)
    for name in _SWITCHES:
        if arguments.get(name) is not None and type(arguments[name]) is not bool:
            wrong.append(name)
    for name in _FRACTIONS:
        value = arguments.get(name, 0.0)
        # NaN fails both comparisons
        if type(value) not in (int, float) or not 0 <= value < 1:
            wrong.append(name)
    if wrong:
        values = ", ".join(f"{name} {reprlib.repr(arguments.get(name))}" for name in wrong)
        raise CheckpointError(f"the model's arguments say {values}", HINT)


def _check_features(arguments: Mapping[str, Any]) -> None:
    features = []
    for name, unused in _UNUSED.items():
        value = arguments.get(name)
        value = getattr(value, "name", value)
        if value not in unused:
            features.append(f"{name} {reprlib.repr(value)}".replace("'", ""))
    # grouped-query attention: deepspeedai 4efb479 itself does not train with it
    groups = arguments.get("num_key_value_heads")
    if groups not in (None, arguments["num_attention_heads"]):
        features.append(f"num_key_value_heads {reprlib.repr(groups)}")
    if features:
        raise CheckpointError(f"the model has {', '.join(features)}", HINT)
