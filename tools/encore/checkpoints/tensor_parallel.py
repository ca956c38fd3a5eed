"""Which weights tensor-parallel ranks divide, along which axis, and over how many ranks they can.

source: TurkuNLP 6732bc9 megatron/mpu/layers.py
"""

import torch
from torch import Tensor

from encore.errors import UsageError
from encore.model.config import ModelConfig

# each rank has some of the columns
_ROW_PARALLEL = ("self_attention.dense.weight", "mlp.dense_4h_to_h.weight")
# each rank has some of the rows
_COLUMN_PARALLEL = (
    "word_embeddings.weight",
    "query_key_value.weight",
    "query_key_value.bias",
    "dense_h_to_4h.weight",
    "dense_h_to_4h.bias",
)


def split_axis(name: str) -> int | None:
    """The axis along which tensor-parallel ranks divide a weight; None: each has all of it."""
    if name.endswith(_COLUMN_PARALLEL):
        return 0
    if name.endswith(_ROW_PARALLEL):
        return 1
    return None


def part(value: Tensor, name: str, start: int, stop: int) -> Tensor:
    """From `start` to before `stop` of a weight along its split axis, in storage of its own."""
    view = value.narrow(split_axis(name) or 0, start, stop - start)
    return view.clone(memory_format=torch.contiguous_format)


def check_degrees(model: ModelConfig, tensor: int, pipeline: int) -> None:
    """Raises UsageError where the model cannot be laid out at these parallel degrees."""
    for name in ("num_attention_heads", "ffn_hidden_size"):
        size = getattr(model, name)
        if tensor < 1 or size % tensor:
            raise UsageError(
                f"--tp {tensor} does not divide {name} {size}", f"choose a divisor of {size}"
            )
    if not 1 <= pipeline <= model.num_layers:
        raise UsageError(
            f"--pp {pipeline} does not fit {model.num_layers} layers",
            f"every stage needs a layer: choose 1 to {model.num_layers}",
        )
