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

import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from encore import files
from encore.checkpoints.file_names import (
    MODEL_STATES,
    STEP,
    _names,
    latest,
    layer_file,
    optimizer_file,
)
from encore.checkpoints.safe_load import arguments, model_states
from encore.errors import CheckpointError, OutputError
from encore.model.config import layer_numbers


@dataclass(frozen=True)
class NewestCheckpoint:
    """The newest complete checkpoint of a folder, if any, and why newer or named ones were passed over."""

    step: Path | None
    passed_over: tuple[str, ...]


def newest(folder: Path, optimizer: bool = True) -> NewestCheckpoint:
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
            return NewestCheckpoint(folder / name, tuple(passed_over))
        passed_over.append(f"{folder / name} is not complete: {problem}")
    return NewestCheckpoint(None, tuple(passed_over))


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
    for tensor_rank in range(
        saved.get("tensor_model_parallel_size") or states.get("mp_world_size", 1)
    ):
        for number in layer_numbers(saved["num_layers"]):
            yield layer_file(number, tensor_rank)


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
            f"{path.parent} could not be written: {reason}",
            "free disk space and start again from the last checkpoint",
        ) from None


def finish(folder: Path, iteration: int) -> Path:
    """Give the checkpoint its name, then point `latest` at it; a checkpoint of that name is replaced."""
    step, replaced = (
        folder / f"global_step{iteration}",
        folder / f".global_step{iteration}.replaced",
    )
    files.fsync(unfinished(folder, iteration))
    if step.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        step.rename(replaced)
    unfinished(folder, iteration).rename(step)
    files.fsync(folder)
    files.write_text(folder / "latest", step.name)
    shutil.rmtree(replaced, ignore_errors=True)
    return step
