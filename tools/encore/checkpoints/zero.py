"""The fp32 weights in the optimizer files of DeepSpeed's ZeRO stage 1, put together by parameter.

Each data-parallel rank's file holds one partition of the flattened parameters, and where in it each
parameter lies.
source: DeepSpeed 0.19.8 runtime/{bf16_optimizer,zero/stage_1_and_2}.py,
checkpoint/ds_to_universal.py
"""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encore.checkpoints import file_names, torch_file
from encore.checkpoints.inert_pickle import StandIn
from encore.errors import CheckpointError

_FLAT = "single_partition_of_fp32_groups"
_PLACES = "param_slice_mappings"
_HINT = "use a checkpoint that ZeRO stage 1 saved, with all of its files"


@dataclass(frozen=True)
class Fragment:
    """A part of a parameter: `numel` values from `start` of a group's partition in one file."""

    path: Path
    group: int
    start: int
    numel: int


@dataclass
class Partitions:
    """Where one model rank's parameters lie: their shapes, and their fragments by data rank."""

    shapes: dict[str, tuple[int, ...]]
    fragments: dict[str, list[Fragment]] = field(default_factory=dict)

    def read(self, name: str) -> Tensor:
        """A parameter, in fp32. Raises CheckpointError where a part of it is missing."""
        pieces = []
        for part in self.fragments.get(name, ()):
            flat = _optimizer_state(part.path)[_FLAT][part.group]
            # a copy, as the mapped file is closed with its state
            pieces.append(flat[part.start : part.start + part.numel].float().clone())
        count = sum(len(piece) for piece in pieces)
        expected = prod(self.shapes[name])
        if count != expected:
            raise CheckpointError(
                f"the optimizer files hold {count} of {expected} values of {name}", _HINT
            )
        return torch.cat(pieces).view(self.shapes[name])


def partitions(step: Path, model_rank: int, parameter_shapes: Any) -> Partitions:
    """Where one model rank's parameters lie.

    parameter_shapes: `param_shapes` of the rank's model states. Raises CheckpointError.
    """
    result = Partitions(_checked_shapes(step, parameter_shapes))
    # fragments are put together in the order of data ranks, in which ZeRO cut them
    paths = {}
    for (rank, data_rank), path in file_names.optimizer_files(step).items():
        if rank == model_rank:
            paths[data_rank] = path
    for _, path in sorted(paths.items()):
        for group, places in enumerate(_optimizer_state(path)[_PLACES]):
            for name, place in places.items():
                start, numel = _address(place, path)
                fragment = Fragment(path, group, start, numel)
                result.fragments.setdefault(name, []).append(fragment)
    return result


def _checked_shapes(step: Path, parameter_shapes: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameter groups. Raises CheckpointError."""
    shapes: dict[str, tuple[int, ...]] = {}
    groups = parameter_shapes if isinstance(parameter_shapes, list) else [None]
    for group in groups:
        if not isinstance(group, dict) or not all(map(_is_shape, group.values())):
            raise CheckpointError(f"{step} does not state the shapes of its parameters", _HINT)
        for name, shape in group.items():
            shapes[str(name)] = shape
    return shapes


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(size) is int and size >= 0 for size in value)


def _optimizer_state(path: Path) -> dict[str, Any]:
    """The partition of each parameter group and the places in it. Raises CheckpointError."""
    content = torch_file.load(path, mapped=True)
    state = content.get("optimizer_state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        state = {}
    flat = state.get(_FLAT)
    places = state.get(_PLACES)
    if not (isinstance(flat, list) and isinstance(places, list) and len(flat) == len(places)):
        raise CheckpointError(f"{path} holds no fp32 weights with their places", _HINT)
    for values, mapping in zip(flat, places, strict=True):
        is_vector = isinstance(values, Tensor) and values.ndim == 1
        if not is_vector or not isinstance(mapping, dict):
            raise CheckpointError(
                f"{path} holds fp32 weights in another form than ZeRO stage 1", _HINT
            )
    return state


def _address(place: Any, path: Path) -> tuple[int, int]:
    """start and numel of DeepSpeed's fragment_address, of which there is only a stand-in here."""
    values = place.values[0] if isinstance(place, StandIn) and place.values else None
    address = []
    for name in ("start", "numel"):
        value = values.get(name) if isinstance(values, dict) else None
        if type(value) is not int or value < 0:
            raise CheckpointError(f"{path} does not say where its parameters lie", _HINT)
        address.append(value)
    return address[0], address[1]
