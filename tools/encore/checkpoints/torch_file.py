"""One .pt file: read without executing anything in it, written so that it is on disk.

torch's weights-only unpickler builds tensors and plain values. The few other things that
Megatron-DeepSpeed stores become inert stand-ins; a file that holds anything else is refused by the
name of what it holds.
"""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from encore import files
from encore.checkpoints import torch_zip
from encore.checkpoints.inert_pickle import (
    FOREIGN,
    MEMBER,
    NAMESPACE,
    member,
    refused,
    stand_in,
)
from encore.errors import CheckpointError, OutputError

Weights = dict[str, Tensor]


def load(path: Path, mapped: bool = False) -> Any:
    """What a .pt file holds, on the CPU.

    mapped: tensors stay in the file until they are used, and must not outlive it. Raises
    CheckpointError for a file that is torn, damaged, or holds what may not be loaded.
    """
    torch_zip.check(path)
    try:
        allowed = _allowed_names(path)
        with safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes can mislead the unpickler in any way
        raise torch_zip.unreadable(path, error) from None


def load_weights(path: Path) -> Weights:
    """A file of nothing but weights by name; they stay in the file. Raises CheckpointError."""
    weights = load(path, mapped=True)
    if isinstance(weights, dict) and all(isinstance(v, Tensor) for v in weights.values()):
        return weights
    raise CheckpointError(
        f"{path} holds more than weights by name", "use a checkpoint that training saved"
    )


def _allowed_names(path: Path) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What torch may build beside its own types, each under the name that the file says."""
    # every name in the file that torch does not allow by itself, read without executing anything
    names = get_unsafe_globals_in_checkpoint(str(path))
    code = []
    for name in names:
        if name not in (NAMESPACE, MEMBER) and not FOREIGN.fullmatch(name):
            code.append(name)
    if code:
        raise refused(path, code)
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = []
    for name in names:
        if name == NAMESPACE:
            allowed.append((Namespace, name))
        elif name == MEMBER:
            allowed.append((member, name))
        else:
            allowed.append((stand_in(name), name))
    return allowed


def save(path: Path, value: Any) -> None:
    """Write a .pt file and force it to disk. Raises OutputError."""
    try:
        torch.save(value, path)
        files.fsync(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        reason = str(error).strip().partition("\n")[0]
        raise OutputError(
            f"{path.parent} could not be written: {reason}",
            "free disk space and resume from the last checkpoint",
        ) from None
