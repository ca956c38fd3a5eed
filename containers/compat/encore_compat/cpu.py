"""torch.cuda's names answering for the CPU: to test an image where there is no GPU, not to train.

The forks then run with `--distributed-backend gloo` and DeepSpeed's accelerator `cpu`.
"""

import functools
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any


def stand_in() -> None:
    """Put the CPU behind torch.cuda; raises RuntimeError where there is a GPU to use."""
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    # DeepSpeed reads from these which accelerator it has, and how many devices
    os.environ.update(DS_ACCELERATOR="cpu", LOCAL_SIZE=ranks)
    import torch

    if torch.cuda.is_available():
        raise RuntimeError(
            "ENCORE_COMPAT_CPU=1 is for machines without a GPU, and torch sees one here; unset it"
        )
    cpu = torch.device("cpu")
    for kind in ("Float", "Int", "Long", "Half", "BFloat16", "Byte", "Bool", "Double"):
        setattr(torch.cuda, f"{kind}Tensor", getattr(torch, f"{kind}Tensor"))
    functions: dict[str, Callable[..., Any]] = {
        "current_device": lambda: cpu,
        "device_count": lambda: int(ranks),
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
        "manual_seed": _manual_seed,
    }
    # a function object each: torch._dynamo refuses one object under two names
    for name in ("set_device", "synchronize", "empty_cache", "reset_peak_memory_stats"):
        functions[name] = _constant(None)
    for name in ("memory_allocated", "memory_reserved"):
        functions[name] = _constant(0)
        functions[f"max_{name}"] = _constant(0)
    vars(torch.cuda).update(functions)
    torch.Tensor.cuda = _unmoved  # type: ignore[method-assign,assignment]
    torch.nn.Module.cuda = _unmoved  # type: ignore[method-assign,assignment]


def _manual_seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _constant(value: Any) -> Callable[..., Any]:
    return lambda *_: value


def _unmoved(self: Any, *_: Any, **__: Any) -> Any:
    """`.cuda()` of a tensor or a module: it stays on the CPU."""
    return self


def _allow_no_cuda(module: ModuleType) -> None:
    """megatron.training: starts although torch.cuda.is_available() says no, which is the truth."""
    initialize = functools.partial(module.initialize_megatron, allow_no_cuda=True)
    vars(module).update(initialize_megatron=initialize)


def _seed_the_cpu(module: ModuleType) -> None:
    """megatron.mpu.random: sets the CPU's random state instead of the GPU's."""
    import torch

    vars(module).update(_set_cuda_rng_state=lambda state, *_: torch.set_rng_state(state))


PATCHES = {
    "megatron.training": _allow_no_cuda,
    "megatron.mpu.random": _seed_the_cpu,
    "megatron.core.tensor_parallel.random": _seed_the_cpu,
}
