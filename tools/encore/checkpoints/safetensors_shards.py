"""The weight files of a transformers folder: read weight by weight, and written in shards of bounded size.

    model.safetensors, or model-00001-of-00003.safetensors … with model.safetensors.index.json

A pytorch_model.bin is read through the safe loader. Source: transformers 5.24 for the names.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from encore import files
from encore.checkpoints import safe_load
from encore.checkpoints.tensor_parallel import Weights
from encore.errors import CheckpointError, OutputError

_HINT = "take a folder as transformers saves it"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist", _HINT) from None
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be read: {error}", _HINT) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a JSON object", _HINT)
    return found


def tensors(path: Path) -> dict[str, Callable[[], Tensor]]:
    """How to read each weight, by name; nothing is read yet. Raises CheckpointError."""
    if (path / "model.safetensors.index.json").is_file():
        mapped = read_json(path / "model.safetensors.index.json").get("weight_map")
        shards = sorted(set(mapped.values())) if isinstance(mapped, dict) else []
        if not shards or any(
            not isinstance(name, str) or Path(name).name != name for name in shards
        ):
            raise CheckpointError(f"{path}: the index names no files of its own folder", _HINT)
    elif (path / "model.safetensors").is_file():
        shards = ["model.safetensors"]
    elif (path / "pytorch_model.bin").is_file():
        return _pickled(path / "pytorch_model.bin")
    else:
        raise CheckpointError(f"{path} has no model.safetensors and no index of several", _HINT)
    found: dict[str, Callable[[], Tensor]] = {}
    for name in shards:
        found |= _shard(path / name)
    return found


def _shard(path: Path) -> dict[str, Callable[[], Tensor]]:
    def reader(name: str) -> Callable[[], Tensor]:
        def read_one() -> Tensor:
            with safe_open(path, "pt") as opened:
                return opened.get_tensor(name)

        return read_one

    try:
        with safe_open(path, "pt") as opened:
            return {name: reader(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "fetch it again") from None


def _pickled(path: Path) -> dict[str, Callable[[], Tensor]]:
    held = safe_load.load(path, mapped=True)
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise CheckpointError(f"{path} holds more than weights by name", _HINT)
    return {name: lambda value=value: value for name, value in held.items()}


@dataclass
class ShardWriter:
    """Writes weights in shards of at most `shard_bytes`, in the order given; one shard is in memory at a time."""

    folder: Path
    shard_bytes: int
    _held: Weights = field(default_factory=dict)
    _shards: list[list[str]] = field(default_factory=list)
    _total: int = 0

    def make_room(self, size: int) -> None:
        """Write the shard in memory if it would become too large with a weight of so many bytes."""
        if (
            self._held
            and sum(value.nbytes for value in self._held.values()) + size > self.shard_bytes
        ):
            self._write()

    def add(self, name: str, value: Tensor) -> None:
        """Take one weight."""
        self.make_room(value.nbytes)
        self._held[name] = value
        self._total += value.nbytes

    def finish(self) -> None:
        """Write what is left, give the shards their names, and write the index where there are several."""
        self._write()
        count = len(self._shards)
        if count == 1:
            (self.folder / "0").rename(self.folder / "model.safetensors")
            return
        mapped = {}
        for index, names_in in enumerate(self._shards):
            target = f"model-{index + 1:05d}-of-{count:05d}.safetensors"
            (self.folder / str(index)).rename(self.folder / target)
            mapped |= dict.fromkeys(names_in, target)
        index_of = {
            "metadata": {"total_size": self._total},
            "weight_map": dict(sorted(mapped.items())),
        }
        write_json(self.folder / "model.safetensors.index.json", index_of)

    def _write(self) -> None:
        path = self.folder / str(len(self._shards))
        try:
            save_file(self._held, path, metadata={"format": "pt"})
            path.chmod(
                self.folder.stat().st_mode & 0o666
            )  # the library writes for the owner's eyes alone
            files.fsync(path)
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"{self.folder} could not be written: {error}", "free disk space and try again"
            ) from None
        self._shards.append(list(self._held))
        self._held = {}


def write_json(path: Path, value: Any) -> None:
    """One JSON document, atomically."""
    files.write_text(path, json.dumps(value, indent=2) + "\n")
