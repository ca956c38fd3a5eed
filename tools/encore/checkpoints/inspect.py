"""What a checkpoint is, said without running anything: step, samples, shapes, parallel degrees, what is missing."""

from collections.abc import Iterable
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from encore.checkpoints import file_names, gpt2_reader, layers, megatron_reader, safe_load
from encore.errors import CheckpointError, EncoreError
from encore.model.config import ModelConfig

_COUNTERS = ("iteration", "global_steps", "skipped_steps")
_SAMPLES = ("consumed_train_samples", "consumed_valid_samples", "consumed_train_tokens")


def facts(path: Path) -> dict[str, Any]:
    """What a step folder, a folder of several or a transformers folder holds. Raises CheckpointError."""
    if gpt2_reader.is_folder(path):
        return _of_transformers(path)
    return _of_megatron(_step(path))


def rows(known: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The same for people: one line a fact, the arguments left out."""
    for name, value in known.items():
        if isinstance(value, dict) and name != "arguments":
            yield name, ", ".join(f"{key} {_text(one)}" for key, one in value.items()) or "none"
        elif isinstance(value, list):
            yield name, "; ".join(map(str, value)) or "nothing"
        elif name != "arguments":
            yield name, f"{value:,}" if type(value) is int else value


def _text(value: Any) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)


def _step(path: Path) -> Path:
    """The step folder that is meant, whole or not."""
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is no folder", "name a global_stepN folder, or a transformers folder"
        )
    try:
        return megatron_reader.find(path)
    except CheckpointError:
        steps = sorted(path.glob("global_step*"), key=lambda step: (len(step.name), step.name))
        if not steps:
            raise
        return steps[-1]


def _of_transformers(path: Path) -> dict[str, Any]:
    folder = gpt2_reader.read(path)
    dtype = folder.layer(1)["word_embeddings.weight"].dtype
    return {
        "path": str(path),
        "format": "transformers GPT-2",
        "dtype": str(dtype).removeprefix("torch."),
        "parameters": _parameters(folder.config, folder.vocabulary),
        "vocabulary": folder.vocabulary,
        "model": asdict(folder.config),
        "unreadable": _unreadable(folder),
    }


def _of_megatron(path: Path) -> dict[str, Any]:
    states = safe_load.model_states(path, mapped=True)
    arguments = safe_load.arguments(states)
    model = layers.config(arguments)
    tensor, pipeline = megatron_reader.degrees(states, arguments)
    known: dict[str, Any] = {
        "path": str(path),
        "format": "Megatron-DeepSpeed",
        **{name: states[name] for name in _COUNTERS if type(states.get(name)) is int},
        **{name: arguments[name] for name in _SAMPLES if type(arguments.get(name)) is int},
        "checkpoint_version": states.get("checkpoint_version", 0),
        "tensor_parallel": tensor,
        "pipeline_parallel": pipeline,
        "data_parallel": states.get("dp_world_size"),
        "weights_from": megatron_reader.weights_from(path, states),
        "optimizer_files": len(file_names.optimizer_files(path)),
        "model": asdict(model),
        "layer_3": {name: list(shape) for name, shape in layers.shapes(model, 3).items()},
    }
    missing = _missing(path, states, tensor, pipeline)
    known["vocabulary"] = megatron_reader.vocabulary(states, arguments, model)
    known["parameters"] = _parameters(model, known["vocabulary"])
    try:
        step = megatron_reader.read(path)
        known["dtype"] = str(step.layer(3)["input_layernorm.weight"].dtype).removeprefix("torch.")
        known["unreadable"] = _unreadable(step)
    except EncoreError as error:
        known["unreadable"] = [str(error)]
    return known | {
        "missing": missing,
        "arguments": {name: _json(value) for name, value in sorted(arguments.items())},
    }


def _missing(path: Path, states: dict[str, Any], tensor: int, pipeline: int) -> list[str]:
    ranks = range(tensor * pipeline)
    missing = [
        name
        for rank in ranks
        if not (path / (name := file_names.MODEL_STATES.format(rank))).is_file()
    ]
    found, data = file_names.optimizer_files(path), states.get("dp_world_size")
    data = data if type(data) is int else 1
    absent = [
        key for key in ((rank, one) for rank in ranks for one in range(data)) if key not in found
    ]
    if absent:
        missing.append(f"{len(absent)} of {tensor * pipeline * data} optimizer files")
    return missing


def _unreadable(source: layers.LayerSource) -> list[str]:
    """Layers that cannot be read, and why; each weight is let go before the next."""
    reasons = []
    for number in source.numbers:
        try:
            layer = source.layer(number)
            for name in layer:
                layer[name]
        except EncoreError as error:
            reasons.append(str(error))
    return reasons


def _parameters(model: ModelConfig, vocabulary: int | None) -> int:
    """Tied embeddings counted once, without the vocabulary's padding where its size without is known."""
    embedding, block, final = (
        sum(map(prod, layers.shapes(model, number).values()))
        for number in (1, 3, 4 + model.num_layers)
    )
    padding = model.padded_vocab_size - (vocabulary or model.padded_vocab_size)
    return embedding - padding * model.hidden_size + model.num_layers * block + final


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_json(one) for one in value]
    if isinstance(value, safe_load.StandIn):
        return f"{value.name}{value.values}"
    return value if isinstance(value, bool | int | float | str | type(None)) else str(value)
