"""A transformers GPT-2 folder: its config.json, and its weights layer by layer in Megatron's names and form.

Both sides hold the same numbers: GPT-2's Conv1D is a transposed linear map, and its fused projection has all queries,
then all keys, then all values, where Megatron's has them head by head.
Source: transformers 5.24 models/gpt2/modeling_gpt2.py; openai-community/gpt2 for names without "transformer.".
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encore.checkpoints import layers, safetensors_shards, tensor_parallel
from encore.checkpoints.layers import Layer
from encore.errors import CheckpointError
from encore.model.config import ModelConfig, layer_numbers

LIVE_HEADS = (
    "encore_live_heads"  # in config.json: heads beyond these are zero, there to make up the width
)
_TANH, _EXACT = ("gelu_new", "gelu_pytorch_tanh"), ("gelu",)
_BLOCK = {
    "input_layernorm": "ln_1",
    "self_attention.query_key_value": "attn.c_attn",
    "self_attention.dense": "attn.c_proj",
    "post_attention_layernorm": "ln_2",
    "mlp.dense_h_to_4h": "mlp.c_fc",
    "mlp.dense_4h_to_h": "mlp.c_proj",
}
_OURS = {
    "tie_word_embeddings": True,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
_HINT = "take a GPT-2 folder as transformers saves it"


def names(model: ModelConfig, number: int) -> dict[str, str]:
    """GPT-2's name, below "transformer.", of each weight of a layer."""
    if number == 1:
        return {"word_embeddings.weight": "wte.weight", "position_embeddings.weight": "wpe.weight"}
    if number == 4 + model.num_layers:
        return {"weight": "ln_f.weight", "bias": "ln_f.bias"}
    kinds = ("weight", "bias")
    return {
        f"{ours}.{kind}": f"h.{number - 3}.{theirs}.{kind}"
        for ours, theirs in _BLOCK.items()
        for kind in kinds
    }


def heads(model: ModelConfig) -> int:
    """How many heads GPT-2 needs: the width has to be all heads side by side, so heads of zeros make it up.

    Raises CheckpointError for heads that no number of zeros makes fit.
    """
    width, inner = model.hidden_size, model.num_attention_heads * model.kv_channels
    if inner > width or width % model.kv_channels:
        raise CheckpointError(
            f"the model has {model.num_attention_heads} heads of kv size {model.kv_channels} at width {width}, "
            "which transformers' GPT2LMHeadModel cannot hold",
            "it holds kv sizes that divide the width, in heads no wider together",
        )
    return width // model.kv_channels


def to_gpt2(value: Tensor, ours: str, theirs: str, model: ModelConfig) -> Tensor:
    """A weight in GPT-2's form, given both its names: contiguous, copied once at most."""
    if ".query_key_value." in ours:
        rows = value.reshape(model.num_attention_heads, 3, model.kv_channels, *value.shape[1:])
        if dead := heads(model) - model.num_attention_heads:
            rows = torch.cat([rows, rows.new_zeros(dead, *rows.shape[1:])])
        columns = rows.movedim(1, 0).movedim(3, 0) if value.ndim == 2 else rows.movedim(1, 0)
        return columns.reshape(*value.shape[1:], -1).contiguous()
    if ours == "self_attention.dense.weight" and (dead := model.hidden_size - value.shape[1]):
        value = torch.cat([value, value.new_zeros(len(value), dead)], 1)
    return (
        value.T.contiguous() if theirs.startswith("h.") and value.ndim == 2 else value.contiguous()
    )


def from_gpt2(value: Tensor, ours: str, theirs: str, model: ModelConfig) -> Tensor:
    """The inverse for one weight, given both its names; heads of zeros go."""
    if theirs.startswith("h.") and value.ndim == 2:
        value = value.T
    if ".query_key_value." in ours:
        rows = value.reshape(3, -1, model.kv_channels, *value.shape[1:])
        value = rows[:, : model.num_attention_heads].transpose(0, 1).flatten(0, 2)
    elif ours == "self_attention.dense.weight":
        value = value[:, : model.num_attention_heads * model.kv_channels]
    return value


@dataclass
class Gpt2Checkpoint:
    """A GPT-2 folder that can be read: `layer(number)` gives one layer in Megatron's form."""

    path: Path
    config: ModelConfig
    get: dict[str, Callable[[], Tensor]]

    @property
    def vocabulary(self) -> int:
        """Rows of the word embeddings."""
        return self.config.padded_vocab_size

    @property
    def numbers(self) -> list[int]:
        """Megatron's numbers of its layers."""
        return layer_numbers(self.config.num_layers)

    def layer(self, number: int) -> Layer:
        """A layer's weights. Raises CheckpointError where they are not what config.json promises."""
        wanted, needed = names(self.config, number), layers.shapes(self.config, number)

        def read_one(ours: str, span: tuple[int, int] | None) -> Tensor:
            try:
                whole = from_gpt2(self.get[wanted[ours]](), ours, wanted[ours], self.config)
            except (RuntimeError, IndexError):  # the fused rows do not divide into heads
                raise CheckpointError(
                    f"{self.path}: {wanted[ours]} does not fit config.json", _HINT
                ) from None
            layers.check_shape(whole, needed[ours], f"{self.path}: {wanted[ours]}, as {ours},")
            return whole if span is None else tensor_parallel.part(whole, ours, *span)

        there = [ours for ours, theirs in wanted.items() if theirs in self.get]
        return Layer(read_one, there, needed, f"{self.path}: layer {number}")


def is_folder(path: Path) -> bool:
    """Whether a path is a transformers folder."""
    return (path / "config.json").is_file()


def read(path: Path) -> Gpt2Checkpoint:
    """A GPT-2 folder, ready to be read layer by layer. Raises CheckpointError."""
    raw = safetensors_shards.read_json(path / "config.json")
    found = {
        name.removeprefix("transformer."): get
        for name, get in safetensors_shards.tensors(path).items()
    }
    folder = Gpt2Checkpoint(path, _config(raw, path), found)
    known = {name for number in folder.numbers for name in names(folder.config, number).values()}
    foreign = [
        name
        for name in folder.get
        if name not in known and not name.endswith((".attn.bias", ".masked_bias"))
    ]
    if foreign == ["lm_head.weight"] and torch.equal(
        folder.get["lm_head.weight"](), folder.get["wte.weight"]()
    ):
        foreign = []
    if foreign:
        raise CheckpointError(
            f"{path} has weights {', '.join(sorted(foreign)[:3])}, which are no GPT-2's", _HINT
        )
    return folder


def _config(raw: dict[str, Any], path: Path) -> ModelConfig:
    other = [f"{name} {raw[name]}" for name, own in _OURS.items() if raw.get(name, own) != own]
    activation = raw.get("activation_function", "gelu_new")
    if raw.get("model_type") != "gpt2":
        other.append(f"model_type {raw.get('model_type')}")
    if activation not in (*_TANH, *_EXACT):
        other.append(f"activation_function {activation}")
    sizes = {
        name: raw.get(name) for name in ("n_layer", "n_embd", "n_head", "n_positions", "vocab_size")
    }
    other += [
        f"{name} {size!r}" for name, size in sizes.items() if type(size) is not int or size < 1
    ]
    if other:
        raise CheckpointError(
            f"{path} has {', '.join(other)}, which Megatron's GPT cannot be", _HINT
        )
    arguments = {
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
        "bias_gelu_fusion": activation in _TANH,
    }
    model = layers.config(arguments)
    live = raw.get(LIVE_HEADS, model.num_attention_heads)
    if type(live) is not int or not 0 < live <= model.num_attention_heads:
        raise CheckpointError(
            f"{path} has {LIVE_HEADS} {live!r} of {model.num_attention_heads} heads", _HINT
        )
    return replace(model, num_attention_heads=live)


def config(
    model: ModelConfig, vocabulary: int, dtype: torch.dtype, end: int | None
) -> dict[str, Any]:
    """What config.json says of a model; `end` is the id of the token that begins and ends documents."""
    made = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocabulary,
        "n_positions": model.max_position_embeddings,
        "n_embd": model.hidden_size,
        "n_layer": model.num_layers,
        "n_head": heads(model),
        "n_inner": model.ffn_hidden_size,
        # training fuses the bias with the tanh form; "gelu" would be the exact one, another function
        "activation_function": "gelu_new" if model.bias_gelu_fusion else "gelu",
        "resid_pdrop": model.hidden_dropout,
        "embd_pdrop": model.hidden_dropout,
        "attn_pdrop": model.attention_dropout,
        "layer_norm_epsilon": model.layernorm_epsilon,
        "initializer_range": model.init_method_std,
        "bos_token_id": end,
        "eos_token_id": end,
        "torch_dtype": str(dtype).removeprefix("torch."),
        **_OURS,
    }
    return made | (
        {LIVE_HEADS: model.num_attention_heads} if heads(model) != model.num_attention_heads else {}
    )
