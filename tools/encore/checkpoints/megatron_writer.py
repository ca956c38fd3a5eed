"""Writing a checkpoint as Megatron-DeepSpeed loads it, at a chosen tensor- and pipeline-parallel degree.

    OUT/latest, OUT/global_stepN/layer_NN-model_TT-model_states.pt, OUT/global_stepN/mp_rank_RR_model_states.pt

Weights alone: the optimizer's partitions and the random states belong to the layout and the ranks that wrote them, so
training goes on with --no-load-optim --no-load-rng, and --override-lr-scheduler where there was no schedule.
Source: TurkuNLP 6732bc9 megatron/checkpointing.py, DeepSpeed 0.19.8 runtime/{engine,pipe/module,pipe/topology}.py.
"""

import contextlib
import enum
import sys
import types
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encore.checkpoints import file_names, layers, safe_load, step_folder
from encore.model.config import ModelConfig

_PLAIN = (bool, int, float, str, type(None), torch.dtype)
_VERSION = 3.0
_COUNTERS = ("global_steps", "global_samples", "skipped_steps", "iteration", "tokens")
# AnnealingLR's keys; what it has of its own replaces these with --override-lr-scheduler
_NO_SCHEDULE = {
    "max_lr": 0.0,
    "min_lr": 0.0,
    "warmup_steps": 0,
    "num_steps": 0,
    "warmup_tokens": 0,
    "num_tokens": 0,
    "decay_style": "cosine",
    "decay_steps": 0,
}


@dataclass(frozen=True)
class MegatronLayout:
    """A layout and the model that goes into it; `model.padded_vocab_size` is padded for `tensor` ranks."""

    model: ModelConfig
    vocabulary: int
    tensor: int
    pipeline: int


def target(
    model: ModelConfig, vocabulary: int, arguments: Mapping[str, Any], tensor: int, pipeline: int
) -> MegatronLayout:
    """The layout of a model over so many ranks. Raises UsageError where it cannot be."""
    layers.check_degrees(model, tensor, pipeline)
    sizes = {field.name: getattr(model, field.name) for field in fields(model)}
    sizes["padded_vocab_size"] = layers.padded_size(vocabulary, arguments, tensor)
    return MegatronLayout(ModelConfig(**sizes), vocabulary, tensor, pipeline)


def write_layers(step: Path, into: MegatronLayout, source: layers.LayerSource) -> torch.dtype:
    """Write the layer files, one in memory at a time; the words' type comes back."""
    for number in source.numbers:
        layer = source.layer(number)
        for rank in range(into.tensor):
            path = step / file_names.layer_file(
                number, rank
            )  # a part is let go as soon as it is written
            step_folder.put(path, {name: _share(layer, name, into, rank) for name in layer})
    return source.layer(1)["position_embeddings.weight"].dtype


def _share(layer: layers.Layer, name: str, into: MegatronLayout, rank: int) -> Tensor:
    if name == layers.WORDS:
        size = into.model.padded_vocab_size
        return layers.words_share(layer, into.vocabulary, size, rank, into.tensor)
    return layers.share(layer, name, rank, into.tensor)


def write_states(
    step: Path, into: MegatronLayout, dtype: torch.dtype, before: Mapping[str, Any]
) -> None:
    """Write a file of arguments and counters per model rank; `before` holds those of the checkpoint it comes from."""
    arguments = _arguments(
        into, dtype, safe_load.arguments(dict(before)) if "args" in before else {}
    )
    schedule = _plain(before.get("lr_scheduler"))
    states = {
        "module": None,
        "optimizer": None,
        "lr_scheduler": schedule if schedule else dict(_NO_SCHEDULE),
        "sparse_tensor_module_names": [],
        "dp_world_size": 1,
        "mp_world_size": into.tensor * into.pipeline,
        "checkpoint_version": _VERSION,
        "checkpoint_info": {
            "padded_vocab_size": into.model.padded_vocab_size,
            "original_vocab_size": into.vocabulary,
        },
        **{name: before[name] if type(before.get(name)) is int else 0 for name in _COUNTERS},
    }
    for model_rank in range(into.tensor * into.pipeline):
        with _megatrons_names() as absolute:
            places = {
                "rank": model_rank,
                "local_rank": model_rank,
                "position_embedding_type": absolute,
            }
            held = states | {"args": Namespace(**(arguments | places))}
            step_folder.put(step / file_names.MODEL_STATES.format(model_rank), held)


def _arguments(
    into: MegatronLayout, dtype: torch.dtype, before: Mapping[str, Any]
) -> dict[str, Any]:
    model = into.model
    own = {
        "seq_length": model.max_position_embeddings,
        "encoder_seq_length": model.max_position_embeddings,
        "make_vocab_size_divisible_by": 128,
        "pad_vocab_size_to": None,
        "tokenizer_type": "GPT2BPETokenizer",
        "apply_residual_connection_post_layernorm": False,
        "embed_layernorm": False,
        "glu_activation": None,
        "openai_gelu": False,
        "consumed_train_samples": 0,
        "consumed_valid_samples": 0,
        "consumed_train_tokens": 0,
        "iteration": 0,
    }
    kept = {
        name: plain
        for name, value in before.items()
        if (plain := _plain(value)) is not None or value is None
    }
    sizes = {field.name: getattr(model, field.name) for field in fields(model)}
    layout = {
        "tensor_model_parallel_size": into.tensor,
        "pipeline_model_parallel_size": into.pipeline,
        "world_size": into.tensor * into.pipeline,
        "data_parallel_size": 1,
        "fp16": dtype == torch.float16,
        "bf16": dtype == torch.bfloat16,
        "params_dtype": dtype,
    }
    return own | kept | sizes | layout


def _plain(value: Any) -> Any:
    """A value without the objects of other programs, which stand-ins are all that is left of; None for those."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if isinstance(name, str)}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if isinstance(value, _PLAIN) else None


@contextlib.contextmanager
def _megatrons_names() -> Iterator[Any]:
    """Megatron's PositionEmbeddingType.absolute, to be pickled by the name under which its loader finds its own.

    Megatron compares the checkpoint's value with its enum's; source: TurkuNLP 6732bc9 megatron/enums.py.
    """
    module = types.ModuleType("megatron.enums")
    values = {"rotary": 1, "absolute": 2, "alibi": 3}
    kind = enum.Enum("PositionEmbeddingType", values, module=module.__name__)  # type: ignore[misc]
    module.PositionEmbeddingType = kind  # type: ignore[attr-defined]
    ours = {"megatron": types.ModuleType("megatron"), module.__name__: module}
    theirs = {name: sys.modules[name] for name in ours if name in sys.modules}
    sys.modules.update(ours)
    try:
        yield kind["absolute"]
    finally:
        for name in ours:
            del sys.modules[name]
        sys.modules.update(theirs)
