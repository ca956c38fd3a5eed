"""torch.cuda's names, answering for the CPU: for testing an image where there is no GPU, never for training.

The forks run on it with `--distributed-backend gloo` and the accelerator that DeepSpeed calls cpu.
"""

import functools
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any


def stand_in() -> None:
    """Put the CPU behind torch.cuda; raises RuntimeError where there is a GPU, for that is then the one to use."""
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    # read by DeepSpeed's CPU accelerator: what it is, and how many devices there seem to be
    os.environ.update(DS_ACCELERATOR="cpu", LOCAL_SIZE=ranks)
    import torch

    if torch.cuda.is_available():
        raise RuntimeError(
            "ENCORE_COMPAT_CPU=1 is for machines without a GPU, and torch sees one here; unset it"
        )
    cpu = torch.device("cpu")
    for kind in ("Float", "Int", "Long", "Half", "BFloat16", "Byte", "Bool", "Double"):
        setattr(torch.cuda, f"{kind}Tensor", getattr(torch, f"{kind}Tensor"))
    answers: dict[str, Any] = {
        "current_device": lambda: cpu,
        "device_count": lambda: int(ranks),
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
        "manual_seed": lambda seed: torch.manual_seed(seed) and None,
    }
    # a function each: torch._dynamo refuses one object under two names
    answers |= {
        name: _always(None)
        for name in ("set_device", "synchronize", "empty_cache", "reset_peak_memory_stats")
    }
    memory = ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved")
    answers |= {name: _always(0) for name in memory}
    vars(torch.cuda).update(answers)
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]


def _always(value: Any) -> Callable[..., Any]:
    return lambda *_: value


def _without_cuda(module: ModuleType) -> None:
    """megatron.training: starts although torch.cuda.is_available() says no, which is the truth."""
    vars(module).update(
        initialize_megatron=functools.partial(module.initialize_megatron, allow_no_cuda=True)
    )


def _seed_of_the_cpu(module: ModuleType) -> None:
    """megatron.mpu.random: sets the CPU's random state where it set the GPU's."""
    import torch

    vars(module).update(_set_cuda_rng_state=lambda state, *_: torch.set_rng_state(state))


MENDS = {
    "megatron.training": _without_cuda,
    "megatron.mpu.random": _seed_of_the_cpu,
    "megatron.core.tensor_parallel.random": _seed_of_the_cpu,
}
