"""What differs between the checkpoints of the trainers, and which one wrote one. No torch here.

    trainer                        layer files           rows of a tensor rank's query_key_value
    turkunlp, bigscience, builtin  01, 03 … L+2, L+4     by head: each head's q, k, v
    deepspeedai                    01, 02 … L+1, L+2     in thirds: q of all heads, k, v
    deepspeedai before 676a482c    01, 02 … L+1, L+2     by head

The numbers are places in DeepSpeed's pipeline: the first kind has conversions without weights
after the embedding and before the final layernorm. Both orders are checkpoint version 3.0, so that
the version does not tell them apart: the arguments do. 676a482c (December 2024) brought the thirds
and --ds-sequence-parallel-fpdt together, and --num-key-value-heads is in no other fork.
source: TurkuNLP 6732bc9, BigScience 8387ae1, deepspeedai 4efb479
megatron/model/{gpt_model,transformer}.py, megatron/checkpointing.py,
megatron/{learning_rates,optimizer_param_scheduler}.py
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from encore.errors import CheckpointError
from encore.model.config import EMBEDDING_NUMBER, ModelConfig, layer_numbers

_ADDED_WITH_NEW_NUMBERS = "num_key_value_heads"
_ADDED_WITH_THIRDS = "ds_sequence_parallel_fpdt"
# deepspeedai writes "lr_" before them
_SCHEDULE = ("warmup_steps", "warmup_tokens", "decay_style", "decay_steps", "decay_tokens")


class RowOrder(enum.Enum):
    """The order of the rows of a tensor rank's query_key_value, the slowest index first."""

    HEADS = "head, q|k|v, channel"
    THIRDS = "q|k|v, head, channel"
    CHANNELS = "head, channel, q|k|v"


@dataclass(frozen=True)
class TrainerFormat:
    """How a kind of trainer stores a checkpoint.

    title: its name for people. conversions: pipeline layers without weights after the embedding,
    and as many before the final layernorm. order: the rows' from checkpoint version 2 on.
    vocabulary_key: where the states have the vocabulary's sizes. schedule_prefix: before the keys
    of the schedule. restart: the arguments that train from weights alone, from step 0. resume:
    those that go on at the checkpoint's step, None where weights alone do not do for that.
    no_schedule: the argument beside them where the checkpoint has none. has_position_types:
    whether it compares position_embedding_type with a class that other trainers do not have.
    """

    title: str
    conversions: int
    order: RowOrder
    vocabulary_key: str
    schedule_prefix: str
    restart: str
    resume: str | None
    no_schedule: str
    has_position_types: bool

    def stored_numbers(self, num_layers: int) -> dict[int, int]:
        """The number in the file's name, by this kit's layer number (encore.model.config)."""
        first_block = EMBEDDING_NUMBER + self.conversions + 1
        blocks = range(first_block, first_block + num_layers)
        final = first_block + num_layers + self.conversions
        stored = [EMBEDDING_NUMBER, *blocks, final]
        return dict(zip(layer_numbers(num_layers), stored, strict=True))

    def schedule(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """A learning-rate schedule, saved by any trainer, under the keys that this one loads."""
        schedule: dict[str, Any] = {}
        for key, value in saved.items():
            name = key.removeprefix(DEEPSPEEDAI.schedule_prefix)
            if name in _SCHEDULE:
                schedule[self.schedule_prefix + name] = value
            else:
                schedule[key] = value
        # what schedules by samples have for tokens
        nothing = None if self.schedule_prefix else 0
        for name in ("warmup_tokens", "decay_tokens"):
            key = self.schedule_prefix + name
            if self.schedule_prefix or key in schedule:
                schedule[key] = schedule.get(key) or nothing
        return schedule

    def arguments(self, before: Mapping[str, Any], model: ModelConfig) -> dict[str, Any]:
        """The arguments of another trainer's run, so that they tell this one and satisfy it."""
        arguments = dict(before)
        for name in (_ADDED_WITH_NEW_NUMBERS, _ADDED_WITH_THIRDS):
            arguments.pop(name, None)
        if self is not TURKUNLP:
            arguments[_ADDED_WITH_NEW_NUMBERS] = model.num_attention_heads
            arguments["add_position_embedding"] = True
        if not self.has_position_types:
            arguments.pop("position_embedding_type", None)
        if self is DEEPSPEEDAI:
            arguments[_ADDED_WITH_THIRDS] = False
        return arguments


TURKUNLP = TrainerFormat(
    title="turkunlp, bigscience or builtin",
    conversions=1,
    order=RowOrder.HEADS,
    vocabulary_key="checkpoint_info",
    schedule_prefix="",
    # without them it looks for files that are not there, and compares an absent schedule with its
    # own, also under --finetune
    restart="--finetune --no-load-optim --no-load-rng --override-lr-scheduler",
    resume="--no-load-optim --no-load-rng",
    no_schedule="--override-lr-scheduler",
    has_position_types=True,
)
DEEPSPEEDAI = TrainerFormat(
    title="deepspeedai",
    conversions=0,
    order=RowOrder.THIRDS,
    vocabulary_key="universal_checkpoint_info",
    schedule_prefix="lr_",
    restart="--finetune",
    # it loads the optimizer's state also under --no-load-optim (megatron/checkpointing.py:548)
    resume=None,
    no_schedule="--override-opt_param-scheduler",
    has_position_types=False,
)
DEEPSPEEDAI_BY_HEAD = replace(
    DEEPSPEEDAI, title="deepspeedai before December 2024", order=RowOrder.HEADS
)

# by the names of registry/trainers.yml
BY_TRAINER = {
    "turkunlp": TURKUNLP,
    "bigscience": TURKUNLP,
    "deepspeedai": DEEPSPEEDAI,
    "builtin": TURKUNLP,
}


def of(arguments: Mapping[str, Any]) -> TrainerFormat:
    """The format of the trainer that has these arguments; TURKUNLP where nothing tells otherwise.

    Whether the files are that trainer's as well, encore.checkpoints.step_folder checks.
    """
    if _ADDED_WITH_THIRDS in arguments:
        return DEEPSPEEDAI
    if _ADDED_WITH_NEW_NUMBERS in arguments:
        return DEEPSPEEDAI_BY_HEAD
    return TURKUNLP


def row_order(trainer: TrainerFormat, version: float) -> RowOrder:
    """The row order of a checkpoint of this version. Raises CheckpointError for an unknown one.

    source: TurkuNLP 6732bc9 megatron/checkpointing.py, fix_query_key_value_ordering
    """
    if version >= 2:
        return trainer.order
    if version == 0:
        return RowOrder.THIRDS
    if version == 1:
        return RowOrder.CHANNELS
    raise CheckpointError(
        f"unknown checkpoint version {version}", "versions 0, 1 and 2 to 3 can be read"
    )
