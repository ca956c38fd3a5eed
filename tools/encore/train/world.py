"""The processes that train together: one alone, or those that torchrun or Slurm started."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from encore.errors import UsageError
from encore.train import launcher


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
        if self.size > 1:
            self.sum_(tensor).div_(self.size)
        return tensor

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; all get the same answer."""
        if self.size == 1:
            return flag
        count = self.sum_(torch.tensor(int(flag), device=self.device))
        return bool(count)

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def process_group(backend: str | None, group_even_alone: bool) -> Iterator[World]:
    """Join the other processes, and leave them at the end.

    backend: nccl, gloo or None for the device's own. group_even_alone: form a process group of one
    too, which DeepSpeed needs. Raises UsageError for nccl without GPUs, and
    for a launcher's variables that name no process.
    """
    place = launcher.place()
    gpus = torch.cuda.device_count()
    if backend == "nccl" and not gpus:
        raise UsageError(
            "--distributed-backend nccl needs GPUs, and this machine has none",
            "use --distributed-backend gloo, or leave it out",
        )
    device = torch.device("cpu")
    if gpus:
        device = torch.device("cuda", place.local_rank % gpus)
        torch.cuda.set_device(device)
    backend = backend or ("nccl" if gpus else "gloo")
    if place.size > 1:
        launcher.check_rendezvous()
        dist.init_process_group(backend, device_id=device if backend == "nccl" else None)
    elif group_even_alone:
        # DeepSpeed reads it without a default
        os.environ.setdefault("LOCAL_RANK", "0")
        # a store in this process: no port that another run on this machine could have taken
        store = dist.HashStore()  # type: ignore[attr-defined]  # torch exports it at run time
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        yield World(place.rank, place.size, device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
