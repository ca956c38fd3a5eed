"""What a checkpoint says about itself: arguments, parallel degrees, vocabulary, counters. No torch.

Every mp_rank file holds it, beside weights in runs without pipeline parallelism. It is read here
for everybody, so that all agree on what a checkpoint is and on what is no valid one.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.checkpoints import inert_pickle, trainer_format
from encore.checkpoints.file_names import model_states_file
from encore.checkpoints.inert_pickle import StandIn
from encore.checkpoints.trainer_format import RowOrder, TrainerFormat
from encore.errors import CheckpointError
from encore.model.config import ModelConfig

# larger numbers are damage, and would make a loop over ranks or layers never end
_MOST = 10**4
_DAMAGED = "it is damaged; use another step"


@dataclass(frozen=True)
class ModelStates:
    """What the mp_rank file of one model rank says, checked.

    step: the step folder. raw: all of the file, with stand-ins for tensors. arguments: those of the
    training run, under Megatron's names. model_ranks: the number of mp_rank files, each with
    `data_ranks` optimizer files. version: Megatron's, of the checkpoint.
    """

    step: Path
    raw: Mapping[str, Any]
    arguments: Mapping[str, Any]
    num_layers: int
    tensor_parallel: int
    pipeline_parallel: int
    model_ranks: int
    data_ranks: int
    version: float

    @property
    def bf16(self) -> bool:
        """Whether DeepSpeed's bf16 optimizer wrote the optimizer files, as their names say."""
        return bool(self.arguments.get("bf16"))

    @property
    def trainer_format(self) -> TrainerFormat:
        """How the trainer that wrote it stores layers."""
        return trainer_format.of(self.arguments)

    @property
    def row_order(self) -> RowOrder:
        """The order of the fused projection's rows. Raises CheckpointError."""
        return trainer_format.row_order(self.trainer_format, self.version)

    @property
    def layer_numbers(self) -> dict[int, int]:
        """Of each layer with weights: this kit's number, and the one that the trainer gives it."""
        return self.trainer_format.stored_numbers(self.num_layers)

    @property
    def holds_weights(self) -> bool:
        """Whether it has the weights itself, as in runs without layer files."""
        module = self.raw.get("module")
        return isinstance(module, dict) and bool(module)

    @property
    def holds_optimizer(self) -> bool:
        """Whether it has the optimizer's state itself, as DeepSpeed writes it without ZeRO.

        source: DeepSpeed 0.19.8 runtime/engine.py, _common_checkpoint_state
        """
        optimizer = self.raw.get("optimizer")
        return isinstance(optimizer, dict) and bool(optimizer)

    def vocabulary(self, padded_size: int) -> int | None:
        """Entries of the tokenizer, None where no number up to `padded_size` is stated."""
        info = self.raw.get(self.trainer_format.vocabulary_key)
        size = info.get("original_vocab_size") if isinstance(info, dict) else None
        size = size or self.arguments.get("vocab_size")
        if type(size) is int and 0 < size <= padded_size:
            return size
        return None


def model_config(arguments: Mapping[str, Any]) -> ModelConfig:
    """The shape of the model that was trained with these arguments.

    Raises CheckpointError for a model that is not a GPT of this kind.
    """
    plain = dict(arguments)
    position = plain.get("position_embedding_type")
    if isinstance(position, StandIn):  # Megatron's own enum: its value tells what it is
        plain["position_embedding_type"] = position.values[0] if position.values else position.name
    return ModelConfig.of(plain)


def read(step: Path, model_rank: int = 0) -> ModelStates:
    """The states of one model rank: pipeline stage × tensor-parallel degree + tensor rank.

    Raises CheckpointError. source: DeepSpeed 0.19.8 runtime/pipe/topology.py (ds_model_rank;
    get_model_parallel_world_size, which is stored as mp_world_size)
    """
    path = step / model_states_file(model_rank)
    raw = inert_pickle.read(path)
    arguments = raw.get("args") if isinstance(raw, dict) else None
    if isinstance(arguments, Namespace):
        arguments = vars(arguments)
    if not isinstance(arguments, dict):
        raise CheckpointError(f"{path} holds no arguments", "use another step")

    def count(values: Mapping[str, Any], name: str, default: int | None = None) -> int:
        # Megatron's arguments have 0 or None for what is not set
        value = values.get(name) or default
        if type(value) is not int or not 0 < value < _MOST:
            raise CheckpointError(f"{path} states {name} {value!r}", _DAMAGED)
        return value

    pipeline = count(arguments, "pipeline_model_parallel_size", 1)
    # the arguments' degree where they have one, else what the number of model ranks leaves
    tensor = count(raw, "mp_world_size", pipeline) // pipeline
    # the forks' older name, then the newer one
    for name in ("model_parallel_size", "tensor_model_parallel_size"):
        tensor = count(arguments, name, tensor or 1)
    # files from before versions were counted have none
    version = raw.get("checkpoint_version", 0)
    if type(version) not in (int, float):
        raise CheckpointError(f"{path} states version {version!r}", _DAMAGED)
    return ModelStates(
        step=step,
        raw=raw,
        arguments=arguments,
        num_layers=count(arguments, "num_layers"),
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        model_ranks=count(raw, "mp_world_size", tensor * pipeline),
        data_ranks=count(raw, "dp_world_size", 1),
        version=float(version),
    )
