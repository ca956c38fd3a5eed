"""The weight files of a transformers folder: read by weight, written in shards of bounded size.

    model.safetensors, or model-00001-of-00003.safetensors … with model.safetensors.index.json

A pytorch_model.bin, or pytorch_model-00001-of-00003.bin … with pytorch_model.bin.index.json, is
read without executing anything in it. Safetensors have no checksums: a flipped bit in one is not
seen. source: transformers 5.24 for the names
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from encore import data_file, files, strict_json
from encore.checkpoints.torch_file import Weights, load_weights
from encore.errors import CheckpointError, OutputError

_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLED = "pytorch_model.bin"
_PICKLED_INDEX = "pytorch_model.bin.index.json"
_HINT = "give a folder that transformers' save_pretrained wrote"

ReadTensor = Callable[[], Tensor]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises CheckpointError."""
    return strict_json.read_object(path, CheckpointError, _HINT)


def tensors(folder: Path) -> dict[str, ReadTensor]:
    """How to read each weight, by name; nothing is read yet. Raises CheckpointError."""
    readers: dict[str, ReadTensor] = {}
    for name in _file_names(folder):
        path = folder / name
        if name.endswith(".safetensors"):
            for weight in _weight_names(path):
                readers[weight] = partial(_read_tensor, path, weight)
        else:
            weights = load_weights(path)
            for weight in weights:
                readers[weight] = partial(weights.__getitem__, weight)
    return readers


def _file_names(folder: Path) -> list[str]:
    """The names of the weight files. Raises CheckpointError where there are none."""
    for index, whole in ((_INDEX, _WHOLE), (_PICKLED_INDEX, _PICKLED)):
        if (folder / index).is_file():
            return _shard_names(folder / index)
        if (folder / whole).is_file():
            return [whole]
    raise CheckpointError(f"{folder} has neither {_WHOLE} nor {_INDEX}", _HINT)


def _shard_names(index: Path) -> list[str]:
    """The files that an index names. Raises CheckpointError for none, or one in another folder."""
    weight_map = read_json(index).get("weight_map")
    names = set()
    for name in weight_map.values() if isinstance(weight_map, dict) else ():
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{index} names no files of its own folder", _HINT)
        names.add(name)
    if not names:
        raise CheckpointError(f"{index} names no files", _HINT)
    return sorted(names)


def _weight_names(path: Path) -> list[str]:
    try:
        data_file.check(path, CheckpointError)
        with safe_open(path, "pt") as handle:
            return list(handle.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", "fetch it again") from None


def _read_tensor(path: Path, name: str) -> Tensor:
    with safe_open(path, "pt") as handle:
        value: Tensor = handle.get_tensor(name)
        return value


@dataclass
class ShardWriter:
    """Writes weights in the order given, in shards of `shard_bytes` at most.

    One shard is in memory at a time. A weight that is larger gets a shard of its own.
    """

    folder: Path
    shard_bytes: int
    _shard: Weights = field(default_factory=dict)
    _written_shards: list[list[str]] = field(default_factory=list)
    _total: int = 0

    def make_room(self, size: int) -> None:
        """Write the shard in memory if a weight of this many bytes would make it too large."""
        used = sum(value.nbytes for value in self._shard.values())
        if used and used + size > self.shard_bytes:
            self._write()

    def add(self, name: str, value: Tensor) -> None:
        """Add one weight."""
        self.make_room(value.nbytes)
        self._shard[name] = value
        self._total += value.nbytes

    def finish(self) -> None:
        """Write the last shard, give all their names, and write the index if there are several."""
        self._write()
        count = len(self._written_shards)
        if count == 1:
            (self.folder / "0").rename(self.folder / _WHOLE)
            return
        weight_map: dict[str, str] = {}
        for index, names in enumerate(self._written_shards):
            shard = f"model-{index + 1:05d}-of-{count:05d}.safetensors"
            (self.folder / str(index)).rename(self.folder / shard)
            weight_map |= dict.fromkeys(names, shard)
        metadata = {"total_size": self._total}
        index_json = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
        write_json(self.folder / _INDEX, index_json)

    def _write(self) -> None:
        """Under the shard's number: its name says how many there are, which is not known yet."""
        path = self.folder / str(len(self._written_shards))
        try:
            save_file(self._shard, path, metadata={"format": "pt"})
            # the library makes files that only their owner can read
            path.chmod(self.folder.stat().st_mode & 0o666)
            files.fsync(path)
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"{self.folder} could not be written: {error}",
                "free disk space and run the same command again",
            ) from None
        self._written_shards.append(list(self._shard))
        self._shard = {}


def write_json(path: Path, value: Any) -> None:
    """One JSON document, atomically."""
    files.write_text(path, json.dumps(value, indent=2) + "\n")
