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
from encore.checkpoints.fields import Fields
from encore.checkpoints.file_names import model_states_file
from encore.checkpoints.inert_pickle import StandIn
from encore.checkpoints.trainer_format import RowOrder, TrainerFormat
from encore.errors import CheckpointError
from encore.model.config import ModelConfig

# larger numbers are damage, and would make a loop over ranks or layers never end
_MOST = 10**4
_MOST_STEPS = 10**9
_MOST_SAMPLES = 10**12
_MOST_TOKENS = 10**18
_COUNTERS = {
    "iteration": _MOST_STEPS,
    "global_steps": _MOST_STEPS,
    "skipped_steps": _MOST_STEPS,
    "global_samples": _MOST_SAMPLES,
    "tokens": _MOST_TOKENS,
}
# among the arguments
_CONSUMED = {
    "train_samples": _MOST_SAMPLES,
    "consumed_train_samples": _MOST_SAMPLES,
    "consumed_valid_samples": _MOST_SAMPLES,
    "consumed_train_tokens": _MOST_TOKENS,
}


@dataclass(frozen=True)
class ModelStates:
    """What the mp_rank file of one model rank says, checked.

    step: the step folder. raw: all of the file, with stand-ins for tensors. arguments: those of the
    training run, under Megatron's names. model_ranks: the number of mp_rank files, each with
    `data_ranks` optimizer files. version: Megatron's, of the checkpoint. bf16: whether DeepSpeed's
    bf16 optimizer wrote the optimizer files, as their names say. counters: of steps, samples and
    tokens, those that are stated. schedule: of the learning rate, empty where none is stated.
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
    bf16: bool
    counters: Mapping[str, int]
    schedule: Mapping[str, Any]

    def counter(self, name: str) -> int:
        """A counter that is needed. Raises CheckpointError where it is not stated."""
        if name not in self.counters:
            raise CheckpointError(f"{self.step} states no {name}", "use another step")
        return self.counters[name]

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
        return bool(self.raw.get("module"))

    @property
    def holds_optimizer(self) -> bool:
        """Whether it has the optimizer's state itself, as DeepSpeed writes it without ZeRO.

        source: DeepSpeed 0.19.8 runtime/engine.py, _common_checkpoint_state
        """
        return bool(self.raw.get("optimizer"))

    def vocabulary(self, padded_size: int) -> int | None:
        """Entries of the tokenizer, None where they are not stated.

        Raises CheckpointError for more than `padded_size` rows can hold.
        """
        path = str(self.step / model_states_file())
        info = Fields(self.raw, path).mapping(self.trainer_format.vocabulary_key)
        size = Fields(info, path).size("original_vocab_size", padded_size + 1)
        return size or Fields(self.arguments, path).size("vocab_size", padded_size + 1)


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
    if not _is_named(raw):
        raise CheckpointError(f"{path} holds no model states", "use another step")
    arguments = raw.get("args")
    if isinstance(arguments, Namespace):
        arguments = vars(arguments)
    if not _is_named(arguments):
        raise CheckpointError(f"{path} holds no arguments", "use another step")
    stated = Fields(raw, str(path))
    said = Fields(arguments, str(path))
    for name in ("module", "optimizer", "checkpoint_info", "universal_checkpoint_info"):
        stated.mapping(name)
    num_layers = said.size("num_layers", _MOST)
    if num_layers is None:
        raise CheckpointError(f"{path} states no num_layers", "use another step")
    pipeline = said.size("pipeline_model_parallel_size", _MOST) or 1
    model_ranks = stated.size("mp_world_size", _MOST)
    # the arguments' degree where they have one, else what the number of model ranks leaves
    tensor = (model_ranks or pipeline) // pipeline or 1
    # the forks' older name, then the newer one
    for name in ("model_parallel_size", "tensor_model_parallel_size"):
        tensor = said.size(name, _MOST) or tensor
    return ModelStates(
        step=step,
        raw=raw,
        arguments=arguments,
        num_layers=num_layers,
        tensor_parallel=tensor,
        pipeline_parallel=pipeline,
        model_ranks=model_ranks or tensor * pipeline,
        data_ranks=stated.size("dp_world_size", _MOST) or 1,
        version=_version(stated),
        bf16=said.switch("bf16"),
        counters=_counters(stated, _COUNTERS) | _counters(said, _CONSUMED),
        schedule=_schedule(stated),
    )


def _version(stated: Fields) -> float:
    """Files from before versions were counted have none; Megatron's last one is 3.0."""
    if "checkpoint_version" not in stated.values:
        return 0.0
    return stated.number("checkpoint_version", below=4)


def _is_named(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(name, str) for name in values)


def _counters(values: Fields, limits: Mapping[str, int]) -> dict[str, int]:
    """Those counters that are stated. Raises CheckpointError."""
    counters = {}
    for name, limit in limits.items():
        value = values.count(name, limit)
        if value is not None:
            counters[name] = value
    return counters


def _schedule(stated: Fields) -> Mapping[str, Any]:
    """The schedule of the learning rate. Raises CheckpointError."""
    schedule = stated.mapping("lr_scheduler")
    values = Fields(schedule, f"{stated.where}: lr_scheduler")
    for name, value in schedule.items():
        if value is not None and not isinstance(value, str):
            values.number(name, _MOST_TOKENS)
    return schedule
