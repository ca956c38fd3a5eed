"""How a model is spread over devices: the smallest tensor-parallel degree and the largest micro-batch that fit."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from encore.errors import UsageError
from encore.model.config import ModelConfig
from encore.plan import sizing
from encore.plan.settings import Settings, choose

_GIB = 1 << 30
# what a step may take of a device: the rest goes to the allocator's fragments, the collectives and the context
_USABLE_SHARE = 0.9


@dataclass(frozen=True)
class Devices:
    """What a layout is chosen for; memory_gib None: unknown, everything is taken to fit."""

    count: int
    per_node: int
    memory_gib: float | None
    bf16: bool
    largest_micro_batch: int


ModelAt = Callable[
    [int], ModelConfig
]  # the model at a tensor-parallel degree (its vocabulary is padded by it)


def choose_layout(
    model_at: ModelAt,
    devices: Devices,
    global_batch_size: int,
    sequence_length: int,
    settings: Settings,
) -> tuple[sizing.Layout, bool]:
    """The layout and whether it fits the memory.

    Preferred, in this order: less tensor parallelism, no recomputation, a larger micro-batch. What settings fix stays
    fixed. Raises UsageError when no data-parallel degree divides the batch.
    """
    candidates = list(_candidates(model_at, devices, global_batch_size, settings))
    if not candidates:
        raise UsageError(
            f"{devices.count} devices do not divide a global batch of {global_batch_size}"
            f" (tensor_parallel={settings.tensor_parallel or 'any'},"
            f" micro_batch_size={settings.micro_batch_size or 'any'})",
            "choose --nodes or --set global_batch_size so that batch = devices ÷ parallelism × micro-batch × n",
        )
    for layout in candidates:
        if fits(model_at, layout, devices, sequence_length):
            return layout, True
    return candidates[-1], False


def fits(model_at: ModelAt, layout: sizing.Layout, devices: Devices, sequence_length: int) -> bool:
    """Whether a step's peak stays below the usable share of a device's memory."""
    if devices.memory_gib is None:
        return True
    need = sizing.training_memory(model_at(layout.tensor_parallel), layout, sequence_length).total
    return need <= _USABLE_SHARE * devices.memory_gib * _GIB


def _candidates(
    model_at: ModelAt, devices: Devices, batch: int, settings: Settings
) -> list[sizing.Layout]:
    pipeline = choose(settings.pipeline_parallel, 1)
    degrees = (
        [settings.tensor_parallel] if settings.tensor_parallel else _powers_of_two(devices.per_node)
    )
    recompute = (
        [False, True]
        if settings.activation_checkpointing is None
        else [settings.activation_checkpointing]
    )
    micro = (
        [settings.micro_batch_size]
        if settings.micro_batch_size
        else _powers_of_two(devices.largest_micro_batch)
    )
    found = []
    for tensor, checkpointing, size in itertools.product(degrees, recompute, reversed(micro)):
        model = model_at(tensor)
        ranks = tensor * pipeline
        whole = (
            devices.count % ranks == 0
            and model.num_attention_heads % tensor == 0
            and model.ffn_hidden_size % tensor == 0
        )
        if (
            whole
            and model.num_layers % pipeline == 0
            and batch % (size * (devices.count // ranks)) == 0
        ):
            data = devices.count // ranks
            found.append(sizing.Layout(tensor, pipeline, data, size, checkpointing, devices.bf16))
    return found


def _powers_of_two(most: int) -> list[int]:
    return [1 << n for n in range(most.bit_length()) if 1 << n <= most]
