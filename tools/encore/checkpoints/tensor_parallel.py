"""Which weights tensor-parallel ranks divide, and along which axis."""

import torch
from torch import Tensor

_ROW_PARALLEL = ("self_attention.dense.weight", "mlp.dense_4h_to_h.weight")


_COLUMN_PARALLEL = ("word_embeddings.weight", "query_key_value.weight", "query_key_value.bias")


_COLUMN_PARALLEL += ("dense_h_to_4h.weight", "dense_h_to_4h.bias")


Weights = dict[str, Tensor]


def split_axis(name: str) -> int | None:
    """Along which axis tensor-parallel ranks divide a weight; None: each has all of it.

    source: TurkuNLP 6732bc9 megatron/mpu/layers.py (rows of column-parallel, columns of row-parallel weights)
    """
    return 0 if name.endswith(_COLUMN_PARALLEL) else 1 if name.endswith(_ROW_PARALLEL) else None


def part(value: Tensor, name: str, start: int, stop: int) -> Tensor:
    """From `start` to before `stop` of a weight along its split axis, in storage of its own."""
    return value.narrow(split_axis(name) or 0, start, stop - start).clone(
        memory_format=torch.contiguous_format
    )
