"""Reading a .pt file without executing anything in it."""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from encore.checkpoints.file_names import MODEL_STATES
from encore.errors import CheckpointError

_STAND_IN = re.compile(r"(megatron|deepspeed|numpy)\.[\w.]+")


class StandIn:
    """What stands in for an object of another program: its name and data, no behaviour."""

    name: str

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        self.values = (state,)


def load(path: Path, mapped: bool = False) -> Any:
    """What a .pt file holds, on the CPU. Raises CheckpointError for a torn file or one that holds what may not load.

    mapped: tensors stay in the file until they are used, and must not outlive it.
    """
    try:
        foreign = get_unsafe_globals_in_checkpoint(str(path))
        refused = [
            name
            for name in foreign
            if name != "argparse.Namespace" and not _STAND_IN.fullmatch(name)
        ]
        if refused:
            raise CheckpointError(
                f"{path} holds {', '.join(sorted(refused))}, which could run code when loaded",
                "do not use this file; a checkpoint needs tensors and plain values alone",
            )
        allowed = [
            (Namespace if name == "argparse.Namespace" else _stand_in(name), name)
            for name in foreign
        ]
        with safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} does not exist", "check the path, or take another step"
        ) from None
    except Exception as error:  # of any kind: torn bytes mislead the unpickler anywhere
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read: {reason}", "it is torn or no checkpoint; take another"
        ) from None


def _stand_in(name: str) -> type[StandIn]:
    return type(name.rpartition(".")[2], (StandIn,), {"name": name})


def model_states(step: Path, model_rank: int = 0, mapped: bool = False) -> dict[str, Any]:
    """The arguments, counters and schedule of a checkpoint; model rank = pipeline stage · tensor degree + tensor rank.

    source: DeepSpeed 0.19.8 runtime/pipe/topology.py, PipelineParallelGrid.ds_model_rank
    """
    states = load(step / MODEL_STATES.format(model_rank), mapped)
    if not isinstance(states, dict) or not isinstance(states.get("args"), dict | Namespace):
        raise CheckpointError(
            f"{step / MODEL_STATES.format(model_rank)} holds no arguments",
            "take another checkpoint",
        )
    return states


def arguments(states: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a checkpoint was trained with, under Megatron's names."""
    return dict(states["args"] if isinstance(states["args"], dict) else vars(states["args"]))
