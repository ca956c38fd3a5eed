"""How trainers number their layer files and order the rows of query_key_value. No torch here.

    trainer                        layer files             rows of a tensor rank's query_key_value
    turkunlp, bigscience, builtin  01, 03 … L+2, L+4       by head: each head's q, k, v
    deepspeedai                    01, 02 … L+1, L+2       in thirds: q of all heads, k, v
    deepspeedai before 676a482c    01, 02 … L+1, L+2       by head

The numbers are places in DeepSpeed's pipeline: the first kind has conversions without weights
after the embedding and before the final layernorm. Both orders are checkpoint version 3.0, so that
the version does not tell them apart: the arguments do. 676a482c (December 2024) brought the thirds
and --ds-sequence-parallel-fpdt together, and --num-key-value-heads is in no other fork.
source: TurkuNLP 6732bc9, BigScience 8387ae1, deepspeedai 4efb479
megatron/model/{gpt_model,transformer}.py and megatron/checkpointing.py
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore.errors import CheckpointError
from encore.model.config import EMBEDDING_NUMBER, layer_numbers

_ADDED_WITH_NEW_NUMBERS = "num_key_value_heads"
_ADDED_WITH_THIRDS = "ds_sequence_parallel_fpdt"


class RowOrder(enum.Enum):
    """The order of the rows of a tensor rank's query_key_value, the slowest index first."""

    HEADS = "head, q|k|v, channel"
    THIRDS = "q|k|v, head, channel"
    CHANNELS = "head, channel, q|k|v"


@dataclass(frozen=True)
class LayerFormat:
    """How a kind of trainer stores layers.

    trainer: its name for people. conversions: pipeline layers without weights after the embedding,
    and as many before the final layernorm. order: the row order from checkpoint version 2 on.
    """

    trainer: str
    conversions: int
    order: RowOrder

    def stored_numbers(self, num_layers: int) -> dict[int, int]:
        """The number in the file's name, by this kit's layer number (encore.model.config)."""
        first_block = EMBEDDING_NUMBER + self.conversions + 1
        blocks = range(first_block, first_block + num_layers)
        final = first_block + num_layers + self.conversions
        stored = [EMBEDDING_NUMBER, *blocks, final]
        return dict(zip(layer_numbers(num_layers), stored, strict=True))


SPACED = LayerFormat("turkunlp, bigscience or builtin", 1, RowOrder.HEADS)
CLOSE = LayerFormat("deepspeedai", 0, RowOrder.THIRDS)
CLOSE_BY_HEAD = LayerFormat("deepspeedai before December 2024", 0, RowOrder.HEADS)


def of(arguments: Mapping[str, Any]) -> LayerFormat:
    """The format of the trainer that has these arguments; SPACED where nothing tells otherwise."""
    if _ADDED_WITH_THIRDS in arguments:
        return CLOSE
    if _ADDED_WITH_NEW_NUMBERS in arguments:
        return CLOSE_BY_HEAD
    return SPACED


def row_order(layer_format: LayerFormat, version: float) -> RowOrder:
    """The row order of a checkpoint of this version. Raises CheckpointError for an unknown one.

    source: TurkuNLP 6732bc9 megatron/checkpointing.py, fix_query_key_value_ordering
    """
    if version >= 2:
        return layer_format.order
    if version == 0:
        return RowOrder.THIRDS
    if version == 1:
        return RowOrder.CHANNELS
    raise CheckpointError(
        f"unknown checkpoint version {version}", "versions 0, 1 and 2 to 3 can be read"
    )
