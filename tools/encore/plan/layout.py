"""How a model is spread over devices: less parallelism and larger micro-batches where they fit."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from encore.errors import UsageError
from encore.model.config import ModelConfig
from encore.plan import sizing
from encore.plan.overrides import Overrides

_GIB = 1 << 30
# The share of a device's memory that a step may need. The rest is for what the estimate leaves out:
# the allocator's fragments, the buffers of collectives, the device's context.
_USABLE_SHARE = 0.9

# The model at a tensor-parallel degree, which decides how far its vocabulary is padded.
ModelAt = Callable[[int], ModelConfig]


@dataclass(frozen=True)
class Devices:
    """What a layout is chosen for; memory_gib None: not known, so everything is assumed to fit."""

    count: int
    per_node: int
    memory_gib: float | None
    precision: Literal["bf16", "fp32"]
    largest_micro_batch: int


def choose_layout(
    model_at: ModelAt,
    devices: Devices,
    global_batch_size: int,
    sequence_length: int,
    overrides: Overrides,
) -> tuple[sizing.Layout, bool]:
    """The layout and whether it fits the memory.

    Preferred, in this order: less tensor parallelism, no recomputation, a larger micro-batch. What
    the user overrides stays fixed. Raises UsageError when no layout divides the batch.
    """
    candidates = _candidates(model_at, devices, global_batch_size, overrides)
    if not candidates:
        tensor = overrides.get("tensor_parallel", "any")
        micro = overrides.get("micro_batch_size", "any")
        raise UsageError(
            f"{devices.count} devices do not divide a global batch of {global_batch_size}"
            f" (tensor_parallel={tensor}, micro_batch_size={micro})",
            "choose --nodes or --set global_batch_size such that"
            " batch = devices ÷ parallelism × micro-batch × a whole number",
        )
    for candidate in candidates:
        if fits(model_at, candidate, devices, sequence_length):
            return candidate, True
    return candidates[-1], False


def fits(model_at: ModelAt, layout: sizing.Layout, devices: Devices, sequence_length: int) -> bool:
    """Whether a step's peak stays below the usable share of a device's memory."""
    if devices.memory_gib is None:
        return True
    model = model_at(layout.tensor_parallel)
    memory = sizing.training_memory(model, layout, sequence_length)
    return memory.total <= _USABLE_SHARE * devices.memory_gib * _GIB


def _candidates(
    model_at: ModelAt, devices: Devices, batch: int, overrides: Overrides
) -> list[sizing.Layout]:
    """Every layout that divides model, devices and batch, the preferred ones first."""
    precision = overrides.get("precision", devices.precision)
    # Pipeline parallelism is never chosen, only asked for: tensor parallelism suffices in a node.
    pipeline = overrides.get("pipeline_parallel", 1)
    degrees = overrides.choices("tensor_parallel", _powers_of_two(devices.per_node))
    recomputation = overrides.choices("activation_checkpointing", [False, True])
    micro_batches: Sequence[int] = overrides.choices(
        "micro_batch_size", _powers_of_two(devices.largest_micro_batch)[::-1]
    )
    candidates = []
    for tensor, recompute, micro_batch in itertools.product(degrees, recomputation, micro_batches):
        ranks = tensor * pipeline
        if devices.count % ranks or not _divides(model_at(tensor), tensor, pipeline):
            continue
        data = devices.count // ranks
        if batch % (micro_batch * data) == 0:
            candidates.append(
                sizing.Layout(tensor, pipeline, data, micro_batch, recompute, precision)
            )
    return candidates


def _divides(model: ModelConfig, tensor: int, pipeline: int) -> bool:
    """Whether each rank gets whole heads, whole feed-forward columns and whole layers."""
    return (
        model.num_attention_heads % tensor == 0
        and model.ffn_hidden_size % tensor == 0
        and model.num_layers % pipeline == 0
    )


def _powers_of_two(most: int) -> list[int]:
    """1, 2, 4, … up to `most`."""
    return [1 << exponent for exponent in range(most.bit_length())]
