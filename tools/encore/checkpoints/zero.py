"""The fp32 weights that DeepSpeed's ZeRO stage 1 keeps in its optimizer-state files, put together by parameter.

Each data-parallel rank's file holds one partition of the flattened parameters, and where in it each lies.
Source: DeepSpeed 0.19.8 runtime/{bf16_optimizer,zero/stage_1_and_2}.py, checkpoint/ds_to_universal.py.
"""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encore.checkpoints import file_names, safe_load
from encore.errors import CheckpointError

_HINT = "take a checkpoint of DeepSpeed's ZeRO stage 1 that is whole"


@dataclass(frozen=True)
class Fragment:
    """A part of a parameter: `numel` values from `start` of a group's partition in one file."""

    path: Path
    group: int
    start: int
    numel: int


@dataclass
class Partitions:
    """Where the parameters of one model rank lie: their shapes and, in the order of data ranks, their fragments."""

    shapes: dict[str, tuple[int, ...]]
    fragments: dict[str, list[Fragment]] = field(default_factory=dict)

    def read(self, name: str) -> Tensor:
        """A parameter, in fp32. Raises CheckpointError where a part of it is missing."""
        pieces = []
        for part in self.fragments.get(name, ()):
            flat = _state(part.path)["single_partition_of_fp32_groups"][part.group]
            pieces.append(flat[part.start : part.start + part.numel].float().clone())
        found, needed = sum(len(piece) for piece in pieces), prod(self.shapes[name])
        if found != needed:
            raise CheckpointError(
                f"the optimizer files hold {found} of {needed} values of {name}", _HINT
            )
        return torch.cat(pieces).view(self.shapes[name])


def partitions(step: Path, model_rank: int, parameter_shapes: Any) -> Partitions:
    """Where one model rank's parameters lie, `parameter_shapes` being its model states' own. Raises CheckpointError."""
    groups = parameter_shapes if isinstance(parameter_shapes, list) else [None]
    if not all(
        isinstance(group, dict) and all(isinstance(s, tuple) for s in group.values())
        for group in groups
    ):
        raise CheckpointError(f"{step} does not state its parameters' shapes", _HINT)
    found = Partitions({name: tuple(shape) for group in groups for name, shape in group.items()})
    paths = {
        data: path
        for (model, data), path in file_names.optimizer_files(step).items()
        if model == model_rank
    }
    for _, path in sorted(paths.items()):
        for group, places in enumerate(_state(path)["param_slice_mappings"]):
            for name, place in places.items():
                start, numel = _address(place, path)
                found.fragments.setdefault(name, []).append(Fragment(path, group, start, numel))
    return found


def _state(path: Path) -> dict[str, Any]:
    held = safe_load.load(path, mapped=True)
    state = held.get("optimizer_state_dict") if isinstance(held, dict) else None
    needed = ("single_partition_of_fp32_groups", "param_slice_mappings")
    flat, places = (state.get(name) if isinstance(state, dict) else None for name in needed)
    if not (isinstance(flat, list) and isinstance(places, list) and len(flat) == len(places)):
        raise CheckpointError(f"{path} holds no fp32 weights with their places", _HINT)
    if not all(
        isinstance(f, Tensor) and f.ndim == 1 and isinstance(p, dict)
        for f, p in zip(flat, places, strict=True)
    ):
        raise CheckpointError(
            f"{path} holds fp32 weights in another form than ZeRO's stage 1", _HINT
        )
    return state


def _address(place: Any, path: Path) -> tuple[int, int]:
    """start and numel of a fragment_address, whose class is not there."""
    values = place.values[0] if isinstance(place, safe_load.StandIn) and place.values else None
    if not isinstance(values, dict) or not all(
        type(values.get(name)) is int and values[name] >= 0 for name in ("start", "numel")
    ):
        raise CheckpointError(f"{path} does not say where its parameters lie", _HINT)
    return values["start"], values["numel"]
