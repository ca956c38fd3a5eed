"""What a checkpoint is: step, samples, shapes, parallel degrees, and what of it is missing.

Nothing in it is executed.
"""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from encore.checkpoints import (
    file_names,
    gpt2_reader,
    layers,
    megatron_reader,
    model_states,
    step_folder,
    torch_zip,
)
from encore.checkpoints.inert_pickle import StandIn
from encore.checkpoints.model_states import ModelStates
from encore.errors import CheckpointError, EncoreError
from encore.model.config import EMBEDDING_NUMBER, FIRST_BLOCK_NUMBER, ModelConfig

_COUNTERS = (
    "iteration",
    "global_steps",
    "skipped_steps",
    "consumed_train_samples",
    "consumed_valid_samples",
    "consumed_train_tokens",
)


def facts(path: Path) -> dict[str, Any]:
    """What a step folder, a folder of several or a transformers folder holds, as plain values.

    `missing` names absent files, `unreadable` says why files cannot be read. Raises
    CheckpointError where there is no checkpoint, or its states cannot be read.
    """
    if gpt2_reader.is_folder(path):
        return _transformers_facts(path)
    return _megatron_facts(_step_folder(path))


def rows(checkpoint: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The facts for people: a line for each, without the arguments."""
    for name, value in checkpoint.items():
        if name == "arguments":
            continue
        if isinstance(value, dict):
            items = [f"{key} {_cell(item)}" for key, item in value.items()]
            yield name, ", ".join(items) or "none"
        elif isinstance(value, list):
            yield name, "; ".join(map(str, value)) or "nothing"
        elif type(value) is int:
            yield name, f"{value:,}"
        else:
            yield name, value


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "×".join(map(str, value))
    return str(value)


def _step_folder(path: Path) -> Path:
    """The step folder that a path means: the newest complete one, else the newest."""
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is not a folder", "give a global_stepN folder, or a transformers folder"
        )
    try:
        return megatron_reader.find(path)
    except CheckpointError:
        # none is complete, and the user wants to know what the newest lacks
        steps = sorted(path.glob("global_step*"), key=lambda step: (len(step.name), step.name))
        if not steps:
            raise
        return steps[-1]


def _transformers_facts(path: Path) -> dict[str, Any]:
    checkpoint = gpt2_reader.read(path)
    dtype = checkpoint.layer(EMBEDDING_NUMBER)[layers.WORDS].dtype
    return {
        "path": str(path),
        "format": "transformers GPT-2",
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": checkpoint.config.parameters,
        "vocabulary": checkpoint.vocabulary,
        "model": asdict(checkpoint.config),
        "unreadable": _unreadable_layers(checkpoint),
    }


def _megatron_facts(step: Path) -> dict[str, Any]:
    states = model_states.read(step)
    config = model_states.model_config(states.arguments)
    vocabulary = states.vocabulary(config.padded_vocab_size)
    record: dict[str, Any] = {"path": str(step), "format": "Megatron-DeepSpeed"}
    for name in _COUNTERS:
        if name in states.counters:
            record[name] = states.counters[name]
    shapes = layers.shapes(config, FIRST_BLOCK_NUMBER)
    first_block = states.layer_numbers[FIRST_BLOCK_NUMBER]
    record |= {
        **_trainer_facts(states),
        "checkpoint_version": states.version,
        "tensor_parallel": states.tensor_parallel,
        "pipeline_parallel": states.pipeline_parallel,
        "data_parallel": states.data_ranks,
        "weights_from": megatron_reader.weights_from(states) or None,
        "optimizer_from": _optimizer_from(states),
        "optimizer_files": len(file_names.optimizer_files(step)),
        "model": asdict(config),
        f"layer_{first_block}": {name: list(shape) for name, shape in shapes.items()},
        "vocabulary": vocabulary,
        "parameters": _parameters(config, vocabulary),
    }
    try:
        checkpoint = megatron_reader.read(step)
        block = checkpoint.layer(FIRST_BLOCK_NUMBER)
        record["dtype"] = str(block["input_layernorm.weight"].dtype).removeprefix("torch.")
        record["unreadable"] = _unreadable_layers(checkpoint)
    except EncoreError as error:
        record["unreadable"] = [str(error)]
    record["unreadable"] += _damaged_optimizer_files(step)
    record["missing"] = _missing_files(states)
    arguments = sorted(states.arguments.items())
    record["arguments"] = {name: _as_json(value) for name, value in arguments}
    return record


def _trainer_facts(states: ModelStates) -> dict[str, str | None]:
    """Which trainer wrote it, and in what order the fused rows are; None where it is not known."""
    try:
        step_folder.check_layer_files(states)
        order = states.row_order.value
    except CheckpointError:
        return {"trainer": None, "query_key_value_rows": None}
    return {"trainer": states.trainer_format.title, "query_key_value_rows": order}


def _optimizer_from(states: ModelStates) -> str | None:
    """Where the optimizer's state is; None where it is not kept."""
    if states.holds_optimizer:
        return megatron_reader.MODULES
    if file_names.optimizer_files(states.step):
        return megatron_reader.OPTIMIZER
    return None


def _missing_files(states: ModelStates) -> list[str]:
    """The absent mp_rank files by name; optimizer files, of which there are many, as a count."""
    missing = []
    for rank in range(states.model_ranks):
        name = file_names.model_states_file(rank)
        if not (states.step / name).is_file():
            missing.append(name)
    if states.holds_optimizer:
        return missing
    present = 0
    for model_rank, data_rank in file_names.optimizer_files(states.step):
        if model_rank < states.model_ranks and data_rank < states.data_ranks:
            present += 1
    expected = states.model_ranks * states.data_ranks
    if present < expected:
        missing.append(f"{expected - present} of {expected} optimizer files")
    return missing


def _unreadable_layers(source: layers.LayerSource) -> list[str]:
    """Why layers cannot be read; each weight is let go before the next is read."""
    reasons = []
    for number in source.numbers:
        try:
            layer = source.layer(number)
            for name in layer:
                layer[name]
        except EncoreError as error:
            reasons.append(str(error))
    return reasons


def _damaged_optimizer_files(step: Path) -> list[str]:
    """Why optimizer files cannot be read; nothing of them is loaded."""
    reasons = []
    for path in file_names.optimizer_files(step).values():
        try:
            torch_zip.check(path)
        except CheckpointError as error:
            reasons.append(str(error))
    return reasons


def _parameters(config: ModelConfig, vocabulary: int | None) -> int:
    """Without the vocabulary's padding, where its size without it is known."""
    if vocabulary is None:
        return config.parameters
    return replace(config, padded_vocab_size=vocabulary).parameters


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, StandIn):
        return f"{value.name}{value.values or ''}"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
