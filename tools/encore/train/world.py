"""The processes that train together: one alone, or those that torchrun or Slurm started."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from encore.errors import UsageError


@dataclass(frozen=True)
class World:
    """This process among `size`, each with its own device; alone, nothing is communicated."""

    rank: int
    size: int
    device: torch.device

    def sum_(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def mean_(self, tensor: Tensor) -> Tensor:
        """The mean over all processes, in place."""
        return self.sum_(tensor).div_(self.size) if self.size > 1 else tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all get the same answer."""
        return (
            flag if self.size == 1 else bool(self.sum_(torch.tensor(int(flag), device=self.device)))
        )

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def joined(backend: str | None, group_even_alone: bool) -> Iterator[World]:
    """Join the other processes, and leave them at the end.

    backend: nccl, gloo or None for the device's own. group_even_alone: DeepSpeed needs a process group of one, too.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local_rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if backend == "nccl" and not gpus:
        raise UsageError(
            "--distributed-backend nccl needs GPUs, and there are none", "say gloo, or leave it out"
        )
    device = torch.device("cuda", local_rank % gpus) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    backend = backend or ("nccl" if gpus else "gloo")
    if size > 1:
        dist.init_process_group(backend, device_id=device if backend == "nccl" else None)
    elif group_even_alone:
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield World(rank, size, device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
