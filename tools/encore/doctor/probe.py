"""What a rank sees inside a job: devices, memory, collectives, writable caches.

The doctor's job script carries this file's text to the compute nodes, so that it imports nothing
but torch. Every rank prints one line, `ENCORE_PROBE {json}`: rank, world_size, host, local_rank,
device, devices_seen, free_gib, all_reduce_ok, bus_gb_s, caches (folder → writable).
"""

import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

_MARK = "ENCORE_PROBE"
_CACHES = ("HF_HOME", "TORCH_HOME", "TORCH_EXTENSIONS_DIR", "MIOPEN_USER_DB_PATH", "AITER_JIT_DIR")
_ROUNDS = 5


def main() -> int:
    """Probe and report; exit code 1 when a collective gives a wrong sum."""
    rank = int(os.environ.get("RANK", "0"))
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    report: dict[str, Any] = {
        "rank": rank,
        "world_size": world_size,
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "local_rank": local_rank,
        "device": "cpu",
        "devices_seen": torch.cuda.device_count(),
        "free_gib": None,
        "caches": {},
    }
    for name in _CACHES:
        if name in os.environ:
            report["caches"][os.environ[name]] = is_writable(os.environ[name])
    device = torch.device("cpu")
    backend = "gloo"
    if torch.cuda.is_available():
        device = torch.device("cuda", local_rank % torch.cuda.device_count())
        backend = "nccl"
        report["device"] = torch.cuda.get_device_name(device)
        report["free_gib"] = torch.cuda.mem_get_info(device)[0] / 2**30
        torch.cuda.set_device(device)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    dist.init_process_group(backend, rank=rank, world_size=world_size)
    report["all_reduce_ok"] = sums_right(device, world_size)
    report["bus_gb_s"] = bus_bandwidth(device, world_size)
    dist.barrier()
    # one write per line: ranks share the job's log
    sys.stdout.write(f"{_MARK} {json.dumps(report)}\n")
    sys.stdout.flush()
    dist.destroy_process_group()
    return 0 if report["all_reduce_ok"] else 1


def sums_right(device: torch.device, world_size: int) -> bool:
    """Whether an all-reduce of the ranks' numbers is their sum, in every element."""
    values = torch.full((1 << 16,), float(dist.get_rank() + 1), device=device)
    dist.all_reduce(values)
    return bool((values == world_size * (world_size + 1) / 2).all())


def bus_bandwidth(device: torch.device, world_size: int) -> float:
    """GB/s of an all-reduce, as nccl-tests count it: 2·(n−1)/n of the bytes, over its time."""
    byte_count = 256 << 20 if device.type == "cuda" else 4 << 20
    values = torch.ones(byte_count // 4, device=device)  # float32
    dist.all_reduce(values)
    synchronize(device)
    start = time.perf_counter()
    for _ in range(_ROUNDS):
        dist.all_reduce(values)
    synchronize(device)
    seconds = (time.perf_counter() - start) / _ROUNDS
    return 2 * (world_size - 1) / world_size * byte_count / seconds / 1e9


def synchronize(device: torch.device) -> None:
    """Wait until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def is_writable(folder: str) -> bool:
    """Whether a file can be created in the folder, and the folder itself."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
