"""A transformers GPT-2 folder: its config.json, and its weights by layer in Megatron's form.

Both sides hold the same numbers. GPT-2's Conv1D is a transposed linear map, and its fused
projection has all queries, then all keys, then all values, where Megatron's has them head by head.
source: transformers 5.24 models/gpt2/modeling_gpt2.py; openai-community/gpt2 for names without
"transformer."
"""

import reprlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encore.checkpoints import layers, tensor_parallel
from encore.checkpoints.layers import Layer
from encore.checkpoints.safetensors_shards import ReadTensor, read_json, tensors
from encore.errors import CheckpointError
from encore.model.config import (
    EMBEDDING_NUMBER,
    FIRST_BLOCK_NUMBER,
    ModelConfig,
    final_layernorm_number,
    layer_numbers,
)

# In config.json: heads beyond these are zero, and only make up the width.
LIVE_HEADS = "encore_live_heads"

# Both names of one function; Megatron's fused bias and GELU is it.
_TANH = ("gelu_new", "gelu_pytorch_tanh")
_EXACT = "gelu"
_BLOCK = {
    "input_layernorm": "ln_1",
    "self_attention.query_key_value": "attn.c_attn",
    "self_attention.dense": "attn.c_proj",
    "post_attention_layernorm": "ln_2",
    "mlp.dense_h_to_4h": "mlp.c_fc",
    "mlp.dense_4h_to_h": "mlp.c_proj",
}
# What Megatron's GPT is: another value makes it another model.
_REQUIRED = {
    "model_type": "gpt2",
    "tie_word_embeddings": True,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
_SIZES = ("n_layer", "n_embd", "n_head", "n_positions", "vocab_size")
# of config.json: what a model's logits depend on
MODEL_KEYS = (*_REQUIRED, *_SIZES, "n_inner", "activation_function", "layer_norm_epsilon")
_HINT = "give a GPT-2 folder that transformers' save_pretrained wrote"


def names(model: ModelConfig, number: int) -> dict[str, str]:
    """GPT-2's name, below "transformer.", of each weight of a layer."""
    if number == EMBEDDING_NUMBER:
        return {layers.WORDS: "wte.weight", layers.POSITIONS: "wpe.weight"}
    if number == final_layernorm_number(model.num_layers):
        return {"weight": "ln_f.weight", "bias": "ln_f.bias"}
    index = number - FIRST_BLOCK_NUMBER
    gpt2_names = {}
    for own_name, gpt2_name in _BLOCK.items():
        for kind in ("weight", "bias"):
            gpt2_names[f"{own_name}.{kind}"] = f"h.{index}.{gpt2_name}.{kind}"
    return gpt2_names


def check_heads(model: ModelConfig) -> None:
    """Raises CheckpointError for heads that GPT-2 cannot hold, whatever zeros are added."""
    width = model.hidden_size
    if model.attention_size > width or width % model.kv_channels:
        raise CheckpointError(
            f"the model has {model.num_attention_heads} heads of kv size {model.kv_channels} at"
            f" width {width}, which transformers' GPT2LMHeadModel cannot hold",
            "it needs a kv size that divides the width, and heads that are no wider together",
        )


def _head_count(model: ModelConfig) -> int:
    """GPT-2's heads side by side are as wide as the model, so that heads of zeros fill it up."""
    return model.hidden_size // model.kv_channels


def to_gpt2(value: Tensor, own_name: str, gpt2_name: str, model: ModelConfig) -> Tensor:
    """A weight in GPT-2's form: contiguous, copied once at most."""
    if ".query_key_value." in own_name:
        return _fused_to_gpt2(value, model)
    if own_name == "self_attention.dense.weight" and value.shape[1] < model.hidden_size:
        zeros = value.new_zeros(len(value), model.hidden_size - value.shape[1])
        value = torch.cat([value, zeros], 1)
    if _is_transposed(gpt2_name, value):
        value = value.T
    return value.contiguous()


def _fused_to_gpt2(value: Tensor, model: ModelConfig) -> Tensor:
    """(head, q|k|v, channel) rows, and columns of a weight → the same, q|k|v first, as columns."""
    rows = value.reshape(model.num_attention_heads, 3, model.kv_channels, *value.shape[1:])
    zero_heads = _head_count(model) - model.num_attention_heads
    if zero_heads:
        rows = torch.cat([rows, rows.new_zeros(zero_heads, *rows.shape[1:])])
    # views up to here, and in the next lines: the reshape at the end is the one copy
    rows = rows.movedim(1, 0)
    if value.ndim == 2:
        rows = rows.movedim(3, 0)
    return rows.reshape(*value.shape[1:], -1).contiguous()


def from_gpt2(value: Tensor, own_name: str, gpt2_name: str, model: ModelConfig) -> Tensor:
    """The inverse for one weight; heads of zeros are dropped."""
    if _is_transposed(gpt2_name, value):
        value = value.T
    if ".query_key_value." in own_name:
        rows = value.reshape(3, -1, model.kv_channels, *value.shape[1:])
        return rows[:, : model.num_attention_heads].transpose(0, 1).flatten(0, 2)
    if own_name == "self_attention.dense.weight":
        return value[:, : model.attention_size]
    return value


def _is_transposed(gpt2_name: str, value: Tensor) -> bool:
    """Whether GPT-2 has this weight as a Conv1D: the matrices of its blocks."""
    return gpt2_name.startswith("h.") and value.ndim == 2


@dataclass
class Gpt2Checkpoint:
    """A GPT-2 folder that can be read: `layer(number)` gives one layer in Megatron's form."""

    path: Path
    config: ModelConfig
    read_weight: dict[str, ReadTensor]

    @property
    def vocabulary(self) -> int:
        """Rows of the word embeddings."""
        return self.config.padded_vocab_size

    @property
    def numbers(self) -> list[int]:
        """Megatron's numbers of its layers."""
        return layer_numbers(self.config.num_layers)

    def layer(self, number: int) -> Layer:
        """A layer's weights. Raises CheckpointError where config.json promises others."""
        gpt2_names = names(self.config, number)
        shapes = layers.shapes(self.config, number)

        def read_weight(own_name: str, span: tuple[int, int] | None) -> Tensor:
            gpt2_name = gpt2_names[own_name]
            where = f"{self.path}: {gpt2_name}"
            stored = self.read_weight[gpt2_name]()
            try:
                value = from_gpt2(stored, own_name, gpt2_name, self.config)
            except (RuntimeError, IndexError):  # the fused rows do not divide into heads
                raise CheckpointError(f"{where} does not fit config.json", _HINT) from None
            layers.check_shape(value, shapes[own_name], f"{where}, as {own_name},")
            if span is None:
                return value
            return tensor_parallel.part(value, own_name, *span)

        present = [own for own, gpt2_name in gpt2_names.items() if gpt2_name in self.read_weight]
        return Layer(read_weight, present, shapes, f"{self.path}: layer {number}")


def is_folder(path: Path) -> bool:
    """Whether a path is a transformers folder."""
    return (path / "config.json").is_file()


def read(path: Path) -> Gpt2Checkpoint:
    """A GPT-2 folder, ready to be read layer by layer. Raises CheckpointError."""
    raw = read_json(path / "config.json")
    readers = {}
    for name, read_weight in tensors(path).items():
        readers[name.removeprefix("transformer.")] = read_weight
    checkpoint = Gpt2Checkpoint(path, _config(raw, path), readers)
    _check_names(checkpoint)
    return checkpoint


def _check_names(checkpoint: Gpt2Checkpoint) -> None:
    """Raises CheckpointError for weights that are no GPT-2's; causal masks do not matter.

    An untied lm_head.weight is one; the hub's own GPT-2 stores a copy of the tied one.
    """
    expected: set[str] = set()
    for number in checkpoint.numbers:
        expected.update(names(checkpoint.config, number).values())
    others = []
    for name in checkpoint.read_weight:
        if name not in expected and not name.endswith((".attn.bias", ".masked_bias")):
            others.append(name)
    if others == ["lm_head.weight"] and _is_tied(checkpoint):
        return
    if others:
        raise CheckpointError(
            f"{checkpoint.path} has weights {', '.join(sorted(others)[:3])}, which are no GPT-2's",
            _HINT,
        )


def _is_tied(checkpoint: Gpt2Checkpoint) -> bool:
    if "wte.weight" not in checkpoint.read_weight:
        return False
    head = checkpoint.read_weight["lm_head.weight"]()
    return torch.equal(head, checkpoint.read_weight["wte.weight"]())


def _config(raw: dict[str, Any], path: Path) -> ModelConfig:
    _check_config(raw, path)
    model = ModelConfig.of(
        {
            "num_layers": raw["n_layer"],
            "hidden_size": raw["n_embd"],
            "num_attention_heads": raw["n_head"],
            "ffn_hidden_size": raw.get("n_inner"),
            "max_position_embeddings": raw["n_positions"],
            "padded_vocab_size": raw["vocab_size"],
            "layernorm_epsilon": raw.get("layer_norm_epsilon", 1e-5),
            "init_method_std": raw.get("initializer_range", 0.02),
            "attention_dropout": raw.get("attn_pdrop", 0.1),
            "hidden_dropout": raw.get("resid_pdrop", 0.1),
            "bias_gelu_fusion": raw.get("activation_function", _TANH[0]) in _TANH,
        }
    )
    heads = model.num_attention_heads
    live = raw.get(LIVE_HEADS, heads)
    if type(live) is not int or not 0 < live <= heads:
        raise CheckpointError(
            f"{path} has {LIVE_HEADS} {reprlib.repr(live)} of {heads} heads", _HINT
        )
    return replace(model, num_attention_heads=live)


def _check_config(raw: dict[str, Any], path: Path) -> None:
    """Raises CheckpointError where config.json describes another model than Megatron's GPT."""
    problems = []
    for name, required in _REQUIRED.items():
        default = None if name == "model_type" else required
        value = raw.get(name, default)
        if value != required:
            problems.append(f"{name} {reprlib.repr(value)}")
    activation = raw.get("activation_function", _TANH[0])
    if activation not in (*_TANH, _EXACT):
        problems.append(f"activation_function {reprlib.repr(activation)}")
    for name in _SIZES:
        size = raw.get(name)
        if type(size) is not int or size < 1:
            problems.append(f"{name} {reprlib.repr(size)}")
    if problems:
        raise CheckpointError(
            f"{path} has {', '.join(problems)}, which Megatron's GPT cannot be", _HINT
        )


def config_json(
    model: ModelConfig, vocabulary: int, dtype: torch.dtype, eod: int | None
) -> dict[str, Any]:
    """What config.json says of a model; `eod` is the token that begins and ends documents."""
    raw = {
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": vocabulary,
        "n_positions": model.max_position_embeddings,
        "n_embd": model.hidden_size,
        "n_layer": model.num_layers,
        "n_head": _head_count(model),
        "n_inner": model.ffn_hidden_size,
        # training fuses the bias with the tanh form; "gelu" would be the exact form
        "activation_function": _TANH[0] if model.bias_gelu_fusion else _EXACT,
        "resid_pdrop": model.hidden_dropout,
        "embd_pdrop": model.hidden_dropout,
        "attn_pdrop": model.attention_dropout,
        "layer_norm_epsilon": model.layernorm_epsilon,
        "initializer_range": model.init_method_std,
        "bos_token_id": eod,
        "eos_token_id": eod,
        "torch_dtype": str(dtype).removeprefix("torch."),
        **_REQUIRED,
    }
    if _head_count(model) != model.num_attention_heads:
        raw[LIVE_HEADS] = model.num_attention_heads
    return raw
