"""Checkpoints in Megatron-DeepSpeed's layout: safe reading, and writing that a kill cannot tear.

    FOLDER/latest                                        the name of the newest, "global_step20"
    FOLDER/global_step20/layer_01-model_00-model_states.pt   weights, one file per layer and tensor-parallel rank
                         mp_rank_00_model_states.pt          arguments, counters, learning-rate schedule
                         zero_pp_rank_0_mp_rank_00_optim_states.pt   optimizer state, one file per data-parallel rank

Nothing in a file is executed: torch's weights-only unpickler builds tensors and plain values, and the few other things
that Megatron-DeepSpeed stores (an argparse namespace, enums, DeepSpeed's records, numpy's random state) become inert
stand-ins. A file that holds anything else is refused by the name of what it holds.
Source of the layout: TurkuNLP 6732bc9 megatron/checkpointing.py and DeepSpeed 0.19.8 runtime/{engine,pipe/module}.py.
"""

import re
import shutil
import zipfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from encore import files
from encore.errors import CheckpointError, OutputError

MODEL_STATES = "mp_rank_{:02d}_model_states.pt"
_LAYER = "layer_{:02d}-model_{:02d}-model_states.pt"
_LAYER_PATTERN = re.compile(r"layer_(\d+)-model_(\d+)-model_states\.pt")
_OPTIMIZER_PATTERN = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_?optim_states\.pt")
STEP = re.compile(r"global_step([0-9]+)")
_INERT = re.compile(r"(megatron|deepspeed|numpy)\.[\w.]+")
_ROW_PARALLEL = ("self_attention.dense.weight", "mlp.dense_4h_to_h.weight")
_COLUMN_PARALLEL = ("word_embeddings.weight", "query_key_value.weight", "query_key_value.bias")
_COLUMN_PARALLEL += ("dense_h_to_4h.weight", "dense_h_to_4h.bias")

Weights = dict[str, Tensor]


class Inert:
    """What stands in for an object of another program: its name and data, no behaviour."""

    name: str

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __setstate__(self, state: Any) -> None:
        self.values = (state,)


@dataclass(frozen=True)
class Newest:
    """The newest complete checkpoint of a folder, if any, and why newer or named ones were passed over."""

    step: Path | None
    passed_over: tuple[str, ...]


def load(path: Path, mapped: bool = False) -> Any:
    """What a .pt file holds, on the CPU. Raises CheckpointError for a torn file or one that holds what may not load.

    mapped: tensors stay in the file until they are used, and must not outlive it.
    """
    try:
        foreign = get_unsafe_globals_in_checkpoint(str(path))
        refused = [name for name in foreign if name != "argparse.Namespace" and not _INERT.fullmatch(name)]
        if refused:
            raise CheckpointError(
                f"{path} holds {', '.join(sorted(refused))}, which could run code when loaded",
                "do not use this file; a checkpoint needs tensors and plain values alone",
            )
        allowed = [(Namespace if name == "argparse.Namespace" else _stand_in(name), name) for name in foreign]
        with safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist", "check the path, or take another step") from None
    except Exception as error:  # of any kind: torn bytes mislead the unpickler anywhere
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} cannot be read: {reason}", "it is torn or no checkpoint; take another") from None


def _stand_in(name: str) -> type[Inert]:
    return type(name.rpartition(".")[2], (Inert,), {"name": name})


def model_states(step: Path, model_rank: int = 0, mapped: bool = False) -> dict[str, Any]:
    """The arguments, counters and schedule of a checkpoint; model rank = pipeline stage · tensor degree + tensor rank.

    source: DeepSpeed 0.19.8 runtime/pipe/topology.py, PipelineParallelGrid.ds_model_rank
    """
    states = load(step / MODEL_STATES.format(model_rank), mapped)
    if not isinstance(states, dict) or not isinstance(states.get("args"), dict | Namespace):
        raise CheckpointError(f"{step / MODEL_STATES.format(model_rank)} holds no arguments", "take another checkpoint")
    return states


def arguments(states: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a checkpoint was trained with, under Megatron's names."""
    return dict(states["args"] if isinstance(states["args"], dict) else vars(states["args"]))


def layers(step: Path) -> dict[int, Weights]:
    """The weights by layer number; what tensor-parallel ranks hold in parts is put together."""
    return {number: joined([load(path) for path in paths]) for number, paths in layer_files(step).items()}


def layer_files(step: Path) -> dict[int, list[Path]]:
    """The weight files by layer number, each layer's by tensor-parallel rank."""
    found = [match for name in _names(step) if (match := _LAYER_PATTERN.fullmatch(name))]
    parts: dict[int, list[Path]] = {}
    for match in sorted(found, key=lambda match: (int(match[1]), int(match[2]))):
        parts.setdefault(int(match[1]), []).append(step / match[0])
    return parts


def split_axis(name: str) -> int | None:
    """Along which axis tensor-parallel ranks divide a weight; None: each has all of it.

    source: TurkuNLP 6732bc9 megatron/mpu/layers.py (rows of column-parallel, columns of row-parallel weights)
    """
    return 0 if name.endswith(_COLUMN_PARALLEL) else 1 if name.endswith(_ROW_PARALLEL) else None


def part(value: Tensor, name: str, start: int, stop: int) -> Tensor:
    """From `start` to before `stop` of a weight along its split axis, in storage of its own."""
    return value.narrow(split_axis(name) or 0, start, stop - start).clone(memory_format=torch.contiguous_format)


def joined(ranks: list[Weights]) -> Weights:
    """What tensor-parallel ranks hold in parts, put together."""
    whole = dict(ranks[0])
    for name in whole if len(ranks) > 1 else ():
        if (axis := split_axis(name)) is not None:
            whole[name] = torch.cat([rank[name] for rank in ranks], axis)
    return whole


def optimizer_files(step: Path) -> dict[tuple[int, int], Path]:
    """The optimizer-state files by (model rank, data rank), under the names that DeepSpeed has used."""
    found = [match for name in _names(step) if (match := _OPTIMIZER_PATTERN.fullmatch(name))]
    return {(int(match[2]), int(match[1])): step / match[0] for match in found}


def optimizer_file(data_rank: int, bf16: bool, model_rank: int = 0) -> str:
    """The name of an optimizer-state file, as DeepSpeed calls it."""
    return f"{'bf16_' if bf16 else ''}zero_pp_rank_{data_rank}_mp_rank_{model_rank:02d}_optim_states.pt"


def layer_file(number: int, tensor_rank: int = 0) -> str:
    """The name of a layer's weight file."""
    return _LAYER.format(number, tensor_rank)


def newest(folder: Path, optimizer: bool = True) -> Newest:
    """The checkpoint to go on from: the one `latest` names when it is complete, else the newest complete one.

    optimizer: whether a complete one has its optimizer states.
    """
    numbers = {int(m[1]): name for name in _names(folder) if (m := STEP.fullmatch(name))}
    ordered = [numbers[number] for number in sorted(numbers, reverse=True)]
    named = latest(folder)
    if named is not None:
        ordered = [named, *(name for name in ordered if name != named)]
    passed_over = []
    for name in ordered:
        problem = incomplete(folder / name, optimizer)
        if problem is None:
            return Newest(folder / name, tuple(passed_over))
        passed_over.append(f"{folder / name} is not complete: {problem}")
    return Newest(None, tuple(passed_over))


def incomplete(step: Path, optimizer: bool = True) -> str | None:
    """What a checkpoint lacks, None when it is whole."""
    if not step.is_dir():
        return "it does not exist"
    try:
        states = model_states(step)
    except CheckpointError as error:
        return str(error)
    for name in _expected(states, optimizer):
        if not (step / name).is_file():
            return f"{name} is missing"
        if not zipfile.is_zipfile(step / name):  # the directory of such a file is at its end
            return f"{name} is torn"
    return None


def _expected(states: dict[str, Any], optimizer: bool) -> Iterator[str]:
    """The files that ranks wrote: layers once per tensor-parallel rank, states also per pipeline stage.

    Source: DeepSpeed 0.19.8 runtime/pipe: topology.py get_model_parallel_world_size, module.py ckpt_layer_path.
    """
    saved = arguments(states)
    for model_rank in range(states.get("mp_world_size", 1)):
        yield MODEL_STATES.format(model_rank)
        for data_rank in range(states.get("dp_world_size", 1) if optimizer else 0):
            yield optimizer_file(data_rank, bool(saved.get("bf16")), model_rank)
    for tensor_rank in range(saved.get("tensor_model_parallel_size") or states.get("mp_world_size", 1)):
        for number in layer_numbers(saved["num_layers"]):
            yield layer_file(number, tensor_rank)


def layer_numbers(layer_count: int) -> list[int]:
    """Megatron-DeepSpeed's numbers of the layers with weights: 1 embedding, from 3 the blocks, final layernorm."""
    return [1, *range(3, 3 + layer_count), 4 + layer_count]


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def latest(folder: Path) -> str | None:
    """The name of the checkpoint that `latest` names, None where there is no such file or it names nothing."""
    try:
        name = (folder / "latest").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return name if STEP.fullmatch(name) else None


def unfinished(folder: Path, iteration: int) -> Path:
    """The folder in which a checkpoint is written, under a name that no reader takes for one."""
    return folder / f".global_step{iteration}.unfinished"


def begin(folder: Path, iteration: int) -> None:
    """Make that folder, and clear away what killed runs left behind."""
    for left in (*folder.glob(".global_step*.unfinished"), *folder.glob(".global_step*.replaced")):
        shutil.rmtree(left)
    unfinished(folder, iteration).mkdir(parents=True)


def put(path: Path, value: Any) -> None:
    """Write one file of a checkpoint and force it to disk."""
    try:
        torch.save(value, path)
        files.fsync(path)
    except (OSError, RuntimeError) as error:  # torch's writer raises RuntimeError on a full disk
        reason = str(error).strip().partition("\n")[0]
        raise OutputError(
            f"{path.parent} could not be written: {reason}", "free disk space and start again from the last checkpoint"
        ) from None


def finish(folder: Path, iteration: int) -> Path:
    """Give the checkpoint its name, then point `latest` at it; a checkpoint of that name is replaced."""
    step, replaced = folder / f"global_step{iteration}", folder / f".global_step{iteration}.replaced"
    files.fsync(unfinished(folder, iteration))
    if step.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        step.rename(replaced)
    unfinished(folder, iteration).rename(step)
    files.fsync(folder)
    files.write_text(folder / "latest", step.name)
    shutil.rmtree(replaced, ignore_errors=True)
    return step
