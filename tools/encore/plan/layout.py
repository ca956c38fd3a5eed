"""How a model is spread over devices: less parallelism and larger micro-batches where they fit."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from encore.errors import UsageError
from encore.model.config import ModelConfig
from encore.plan import sizing
from encore.plan.overrides import Overrides

_GIB = 1 << 30
# The share of a device's memory that a step may need. The rest is for what the estimate leaves out:
# the allocator's fragments, the buffers of collectives, the device's context.
_USABLE_SHARE = 0.9
# The most values that a message lists for one option.
_MOST_CHOICES = 6
# How far from the asked number of nodes others are looked for, apart from the powers of two.
_NEARBY_NODES = 8

# The model at a tensor-parallel degree, which decides how far its vocabulary is padded.
ModelAt = Callable[[int], ModelConfig]


@dataclass(frozen=True)
class Devices:
    """What a layout is chosen for.

    memory_gib None: not known, so everything is assumed to fit. tensor_parallel: whether the
    trainer can divide matrices.
    """

    count: int
    per_node: int
    memory_gib: float | None
    precision: Literal["bf16", "fp32"]
    largest_micro_batch: int
    tensor_parallel: bool = True

    @property
    def nodes(self) -> int:
        """Nodes that hold them."""
        return self.count // self.per_node


class _Division(NamedTuple):
    """What a layout has to divide, and what the user fixes of it."""

    devices: Devices
    batch: int
    overrides: Overrides


def choose_layout(
    model_at: ModelAt,
    devices: Devices,
    global_batch_size: int,
    sequence_length: int,
    overrides: Overrides,
) -> tuple[sizing.Layout, bool]:
    """The layout and whether it fits the memory.

    Preferred, in this order: less tensor parallelism, no recomputation, a larger micro-batch. What
    the user overrides stays fixed. Raises UsageError, with what would help, when no layout divides
    model, devices and batch.
    """
    request = _Division(devices, global_batch_size, overrides)
    candidates = _candidates(model_at, request)
    if not candidates:
        remedies = _remedies(model_at, request)
        advice = "; or ".join(remedies) or "correct this first: something else does not fit either"
        raise UsageError(_reason(model_at(1), request), advice)
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


def _candidates(model_at: ModelAt, request: _Division) -> list[sizing.Layout]:
    """Every layout that divides model, devices and batch, the preferred ones first."""
    devices, batch, overrides = request
    precision = overrides.get("precision", devices.precision)
    # Pipeline parallelism is never chosen, only asked for: tensor parallelism suffices in a node.
    pipeline = overrides.get("pipeline_parallel", 1)
    degrees = [1]
    if devices.tensor_parallel:
        degrees = _powers_of_two(devices.per_node)
    tensor_degrees = overrides.choices("tensor_parallel", degrees)
    recomputation = overrides.choices("activation_checkpointing", [False, True])
    micro_batches: Sequence[int] = overrides.choices(
        "micro_batch_size", _powers_of_two(devices.largest_micro_batch)[::-1]
    )
    candidates = []
    for tensor, recompute, micro_batch in itertools.product(
        tensor_degrees, recomputation, micro_batches
    ):
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


def _reason(model: ModelConfig, request: _Division) -> str:
    """The first thing that keeps every layout from dividing model, devices and batch."""
    devices, batch, overrides = request
    pipeline = overrides.get("pipeline_parallel", 1)
    tensor = overrides.get("tensor_parallel", 1)
    if model.num_layers % pipeline:
        return (
            f"pipeline_parallel={pipeline} does not divide the model's {model.num_layers} layers"
            f" ({_listed(_divisors(model.num_layers), 'and')} do)"
        )
    if not _divides(model, tensor, pipeline):
        return (
            f"tensor_parallel={tensor} does not divide the model's {model.num_attention_heads}"
            f" heads and feed-forward size of {model.ffn_hidden_size}"
            f" ({_listed(_tensor_degrees(model), 'and')} do)"
        )
    ranks = tensor * pipeline
    if devices.count % ranks:
        return (
            f"tensor_parallel={tensor} × pipeline_parallel={pipeline} = {ranks} devices for one"
            f" model do not divide {devices.count} devices"
        )
    data = devices.count // ranks
    if batch % data:
        return f"{data} data-parallel devices do not divide a global batch of {batch}"
    micro_batch = overrides.get("micro_batch_size", 1)
    return (
        f"micro_batch_size={micro_batch} × {data} data-parallel devices = {micro_batch * data} do"
        f" not divide a global batch of {batch}"
    )


def _remedies(model_at: ModelAt, request: _Division) -> list[str]:
    """Options of which each alone, with one of its values, gives a layout."""
    helpful: dict[str, list[int]] = {}
    for option, value, variant in _trials(model_at(1), request):
        values = helpful.setdefault(option, [])
        if len(values) < _MOST_CHOICES and _candidates(model_at, variant):
            values.append(value)
    remedies = []
    for option, values in helpful.items():
        if values:
            remedies.append(f"{option}{_listed(sorted(values), 'or')}")
    return remedies


def _trials(model: ModelConfig, request: _Division) -> Iterator[tuple[str, int, _Division]]:
    """Option, value and what is then to be divided; of each option the nearest values first."""
    devices, batch, overrides = request
    choices = {
        "pipeline_parallel": _divisors(model.num_layers),
        "tensor_parallel": _tensor_degrees(model),
        "micro_batch_size": _divisors(batch),
    }
    for key, values in choices.items():
        # what the user left open has been tried already
        if key in overrides.values:
            for value in _nearest_first(values, overrides.get(key, 1)):
                variant = Overrides({**overrides.values, key: value})
                yield f"--set {key}=", value, request._replace(overrides=variant)
    nodes = devices.nodes
    counts = {
        *_powers_of_two(2 * nodes),
        *range(1, nodes + _NEARBY_NODES + 1)[-2 * _NEARBY_NODES :],
    }
    for count in _nearest_first(counts, nodes):
        other_devices = dataclasses.replace(devices, count=count * devices.per_node)
        yield "--nodes ", count, request._replace(devices=other_devices)
    ranks = overrides.get("tensor_parallel", 1) * overrides.get("pipeline_parallel", 1)
    step = max(1, devices.count // ranks) * overrides.get("micro_batch_size", 1)
    below = batch // step * step
    for size in (below, below + step):
        if size > 0:
            yield "--set global_batch_size=", size, request._replace(batch=size)


def _tensor_degrees(model: ModelConfig) -> list[int]:
    """The tensor-parallel degrees that give each rank whole heads and feed-forward columns."""
    return _divisors(math.gcd(model.num_attention_heads, model.ffn_hidden_size))


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _nearest_first(values: Iterable[int], target: int) -> list[int]:
    return sorted(values, key=lambda value: (abs(value - target), value))


def _listed(values: Sequence[int], conjunction: str) -> str:
    """`1, 3 or 5`."""
    *others, last = map(str, values)
    if not others:
        return last
    return f"{', '.join(others)} {conjunction} {last}"
