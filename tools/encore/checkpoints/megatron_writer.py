"""Writing a checkpoint as a trainer loads it, at chosen parallel degrees.

    OUT/latest
    OUT/global_stepN/layer_NN-model_TT-model_states.pt
    OUT/global_stepN/mp_rank_RR_model_states.pt

Weights alone: the optimizer's partitions and the random states belong to the layout and the ranks
that wrote them. Training resumes with the trainer's `resume`, or starts over with its `restart`.
source: TurkuNLP 6732bc9 megatron/checkpointing.py, DeepSpeed 0.19.8
runtime/{engine,pipe/module,pipe/topology}.py
"""

import contextlib
import enum
import sys
import types
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encore.checkpoints import file_names, layers, tensor_parallel, torch_file, trainer_format
from encore.checkpoints.model_states import ModelStates
from encore.checkpoints.trainer_format import TrainerFormat
from encore.model.config import EMBEDDING_NUMBER, ModelConfig

_PLAIN = (bool, int, float, str, type(None))
_VERSION = 3.0
_COUNTERS = ("global_steps", "global_samples", "skipped_steps", "iteration", "tokens")
# TurkuNLP's keys; the trainer's own values replace these with its `restart` or `no_schedule`.
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
# What Megatron's loader and its model want to know and a transformers folder does not say.
_DEFAULT_ARGUMENTS: dict[str, Any] = {
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


@dataclass(frozen=True)
class MegatronTarget:
    """What to write: the parallel degrees, and the trainer to go on with.

    trainer: None for the one that wrote the source, and turkunlp for a transformers folder.
    """

    tensor: int = 1
    pipeline: int = 1
    trainer: TrainerFormat | None = None


@dataclass(frozen=True)
class MegatronLayout:
    """A model, and the parallel degrees and the trainer for which it is written.

    `model.padded_vocab_size` is padded for `tensor` ranks; `vocabulary` is the size without it.
    """

    model: ModelConfig
    vocabulary: int
    tensor: int
    pipeline: int
    trainer: TrainerFormat

    @classmethod
    def of(
        cls,
        model: ModelConfig,
        vocabulary: int,
        arguments: Mapping[str, Any],
        target: MegatronTarget,
    ) -> "MegatronLayout":
        """A model's layout; `arguments` are Megatron's, of the run that it comes from.

        Raises UsageError where the model does not fit the degrees.
        """
        tensor_parallel.check_degrees(model, target.tensor, target.pipeline)
        padded = layers.padded_size(vocabulary, arguments, target.tensor)
        return cls(
            replace(model, padded_vocab_size=padded),
            vocabulary,
            target.tensor,
            target.pipeline,
            target.trainer or trainer_format.of(arguments),
        )

    @property
    def model_ranks(self) -> int:
        """How many mp_rank files it has."""
        return self.tensor * self.pipeline


def write_layers(step: Path, layout: MegatronLayout, source: layers.LayerSource) -> torch.dtype:
    """Write the layer files, one in memory at a time; returns the embeddings' type."""
    stored_numbers = layout.trainer.stored_numbers(layout.model.num_layers)
    for number in source.numbers:
        layer = source.layer(number)
        for rank in range(layout.tensor):
            path = step / file_names.layer_file(stored_numbers[number], rank)
            # no name for the parts: they are freed as soon as they are written
            torch_file.save(path, {name: _part(layer, name, layout, rank) for name in layer})
    return source.layer(EMBEDDING_NUMBER)[layers.POSITIONS].dtype


def _part(layer: layers.Layer, name: str, layout: MegatronLayout, rank: int) -> Tensor:
    if name == layers.WORDS:
        padded = layout.model.padded_vocab_size
        return layers.words_part(layer, layout.vocabulary, padded, rank, layout.tensor)
    part = layers.rank_part(layer, name, rank, layout.tensor)
    heads = layout.model.num_attention_heads // layout.tensor
    return layers.in_order(name, part, heads, layout.trainer.order)


def has_schedule(states: ModelStates) -> bool:
    """Whether a checkpoint has a schedule, which is kept."""
    return bool(states.schedule)


def write_states(
    step: Path, layout: MegatronLayout, dtype: torch.dtype, before: ModelStates | None
) -> None:
    """Write a file of arguments and counters per model rank.

    dtype: the weights'. before: the states of the checkpoint that the weights come from, if any.
    """
    arguments = _arguments(layout, dtype, before.arguments if before else {})
    schedule = before.schedule if before and before.schedule else _NO_SCHEDULE
    counters = before.counters if before else {}
    states: dict[str, Any] = {
        "module": None,
        "optimizer": None,
        "lr_scheduler": layout.trainer.schedule(schedule),
        "sparse_tensor_module_names": [],
        "dp_world_size": 1,
        "mp_world_size": layout.model_ranks,
        "checkpoint_version": _VERSION,
        layout.trainer.vocabulary_key: {
            "padded_vocab_size": layout.model.padded_vocab_size,
            "original_vocab_size": layout.vocabulary,
        },
    }
    for name in _COUNTERS:
        states[name] = counters.get(name, 0)
    # Megatron checks each rank's file against its own arguments, so that all have them.
    for model_rank in range(layout.model_ranks):
        with absolute_positions() as absolute:
            arguments |= {"rank": model_rank, "local_rank": model_rank}
            if layout.trainer.has_position_types:
                arguments["position_embedding_type"] = absolute
            path = step / file_names.model_states_file(model_rank)
            torch_file.save(path, states | {"args": Namespace(**arguments)})


def _arguments(
    layout: MegatronLayout, dtype: torch.dtype, before: Mapping[str, Any]
) -> dict[str, Any]:
    """Defaults, then the plain ones of the run before, then what the model and the layout say."""
    arguments = dict(_DEFAULT_ARGUMENTS)
    arguments["seq_length"] = layout.model.max_position_embeddings
    arguments["encoder_seq_length"] = layout.model.max_position_embeddings
    for name, value in before.items():
        plain = _plain(value)
        if plain is not None or value is None:
            arguments[name] = plain
    arguments |= asdict(layout.model)
    arguments |= {
        "tensor_model_parallel_size": layout.tensor,
        "pipeline_model_parallel_size": layout.pipeline,
        "world_size": layout.model_ranks,
        "data_parallel_size": 1,
        "fp16": dtype == torch.float16,
        "bf16": dtype == torch.bfloat16,
        "params_dtype": dtype,
    }
    return layout.trainer.arguments(arguments, layout.model)


def _plain(value: Any) -> Any:
    """A value without the stand-ins for other programs' objects; None for one itself."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if isinstance(name, str)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, _PLAIN):
        return value
    return None


@contextlib.contextmanager
def absolute_positions() -> Iterator[Any]:
    """Megatron's PositionEmbeddingType.absolute, pickled under the name that its loader knows.

    Megatron compares the checkpoint's value with its enum's, so that the pickle has to name its
    class, which is not installed here: modules of these names stand in for it meanwhile.
    source: TurkuNLP 6732bc9 megatron/enums.py
    """
    module = types.ModuleType("megatron.enums")
    values = {"rotary": 1, "absolute": 2, "alibi": 3}
    # mypy wants the functional Enum's values spelled out in the call
    kind = enum.Enum("PositionEmbeddingType", values, module=module.__name__)  # type: ignore[misc]
    # by value, whatever this Python would do: a name would have to be looked up, which readers that
    # execute nothing refuse
    kind.__reduce_ex__ = lambda self, protocol: (type(self), (self.value,))  # type: ignore[assignment,method-assign]
    vars(module)["PositionEmbeddingType"] = kind
    stand_ins = {"megatron": types.ModuleType("megatron"), module.__name__: module}
    installed = {name: sys.modules[name] for name in stand_ins if name in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield kind["absolute"]
    finally:
        for name in stand_ins:
            del sys.modules[name]
        sys.modules.update(installed)
