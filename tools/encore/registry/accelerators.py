"""registry/accelerators.yml: peak speed and memory of devices."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER, Vendor


@dataclass(frozen=True)
class Accelerator:
    """One device as a process sees it.

    peak_bf16_flops: FLOP/s of dense matrix products. Both figures are None where none is published.
    """

    name: str
    title: str
    vendor: Vendor
    peak_bf16_flops: float | None
    memory_gib: float | None
    source: str
    checked: datetime.date
    note: str = ""


@dataclass(frozen=True)
class _Accelerators:
    accelerators: dict[str, Accelerator]


@functools.cache
def load_accelerators(folder: Path = FOLDER) -> dict[str, Accelerator]:
    """accelerators.yml, by name."""
    return strict_yaml.load(folder / "accelerators.yml", _Accelerators).accelerators
