"""Whole conversions between Megatron-DeepSpeed's layout and transformers'.

A conversion is written beside OUT and gets its name when all of it is on disk, conversion.json
included. A kill leaves OUT as it was, and the same command then ends with the same bytes.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from encore import __version__, files
from encore.checkpoints import (
    file_names,
    gpt2_reader,
    gpt2_tokenizer,
    layers,
    megatron_reader,
    megatron_writer,
)
from encore.checkpoints.megatron_reader import MegatronCheckpoint
from encore.checkpoints.megatron_writer import MegatronLayout, MegatronTarget
from encore.checkpoints.safetensors_shards import ShardWriter, read_json, write_json
from encore.errors import CheckpointError, DataError, OutputError
from encore.model.config import EMBEDDING_NUMBER
from encore.tokens.tokenizer import Tokenizer

RECORD = "conversion.json"


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: where it is, what its conversion.json says, notes for the user."""

    path: Path
    record: dict[str, Any]
    notes: tuple[str, ...]


def to_transformers(
    source: Path,
    out: Path,
    tokenizer: Tokenizer | None,
    shard_bytes: int,
    from_optimizer: bool = False,
) -> Conversion:
    """A Megatron-DeepSpeed checkpoint as a transformers folder, in shards of `shard_bytes` at most.

    Raises CheckpointError, DataError for a tokenizer of another model, and OutputError.
    """
    checkpoint = megatron_reader.read(source, from_optimizer)
    vocabulary = _vocabulary(checkpoint, tokenizer)
    # before anything is written
    gpt2_reader.check_heads(checkpoint.config)
    record = _record("to-transformers", checkpoint.path)
    record |= {"weights_from": checkpoint.weights_from, "vocabulary": vocabulary}
    if tokenizer:
        record["tokenizer"] = tokenizer.describe()["sha256"]
    with _appearing_folder(out, record) as folder:
        dtype = checkpoint.layer(EMBEDDING_NUMBER)[layers.POSITIONS].dtype
        writer = ShardWriter(folder, shard_bytes)
        for number in checkpoint.numbers:
            _write_layer(writer, checkpoint, number, vocabulary, dtype.itemsize)
        writer.finish()
        eod = tokenizer.eod if tokenizer else None
        config = gpt2_reader.config_json(checkpoint.config, vocabulary, dtype, eod)
        write_json(folder / "config.json", config)
        generation = {"bos_token_id": eod, "eos_token_id": eod}
        write_json(folder / "generation_config.json", generation)
        if tokenizer:
            positions = checkpoint.config.max_position_embeddings
            gpt2_tokenizer.write(tokenizer, folder, positions)
    return Conversion(out, record, _notes(checkpoint))


def to_megatron(source: Path, out: Path, target: MegatronTarget) -> Conversion:
    """A transformers GPT-2 folder as a checkpoint of Megatron-DeepSpeed.

    Raises CheckpointError, UsageError for degrees that do not fit the model, and OutputError.
    """
    checkpoint = gpt2_reader.read(source)
    layout = MegatronLayout.of(checkpoint.config, checkpoint.vocabulary, {}, target)
    record = _record("to-megatron", source) | _layout_record(layout)
    record["vocabulary"] = checkpoint.vocabulary
    name = file_names.step_folder_name(0)
    with _appearing_folder(out, record) as folder:
        step = folder / name
        step.mkdir()
        dtype = megatron_writer.write_layers(step, layout, checkpoint)
        megatron_writer.write_states(step, layout, dtype, None)
        _point_latest_at(step)
    notes = [f"there is no optimizer state to resume from: train with {layout.trainer.restart}"]
    if not checkpoint.config.bias_gelu_fusion:
        notes.append(
            f"{source / 'config.json'} says gelu, the exact form: train with"
            " --no-bias-gelu-fusion; a model that Megatron trained with its defaults has gelu_new"
        )
    return Conversion(out / name, record, tuple(notes))


def reshard(
    source: Path,
    out: Path,
    target: MegatronTarget,
    tokenizer: Tokenizer | None,
    from_optimizer: bool = False,
) -> Conversion:
    """A Megatron-DeepSpeed checkpoint at other parallel degrees, or for another trainer.

    Raises CheckpointError, UsageError for degrees that do not fit the model, and OutputError.
    """
    checkpoint = megatron_reader.read(source, from_optimizer)
    states = checkpoint.states
    vocabulary = _vocabulary(checkpoint, tokenizer)
    layout = MegatronLayout.of(checkpoint.config, vocabulary, states.arguments, target)
    record = _record("reshard", checkpoint.path) | _layout_record(layout)
    record["weights_from"] = checkpoint.weights_from
    name = file_names.step_folder_name(states.counters.get("iteration", 0))
    with _appearing_folder(out, record) as folder:
        step = folder / name
        step.mkdir()
        dtype = megatron_writer.write_layers(step, layout, checkpoint)
        megatron_writer.write_states(step, layout, dtype, states)
        _point_latest_at(step)
    left_out = "optimizer and random states belong to the old layout and were left out:"
    way_on = f"start over at step 0 with {layout.trainer.restart}"
    if layout.trainer.resume is not None:
        way_on = f"resume with {layout.trainer.resume}"
        if not megatron_writer.has_schedule(states):
            way_on += f" {layout.trainer.no_schedule}"
    return Conversion(out / name, record, (*_notes(checkpoint), f"{left_out} {way_on}"))


def _write_layer(
    writer: ShardWriter,
    checkpoint: MegatronCheckpoint,
    number: int,
    vocabulary: int,
    itemsize: int,
) -> None:
    """Hand a layer to the writer, which makes room for each weight before it is read."""
    layer = checkpoint.layer(number)
    for own_name, gpt2_name in gpt2_reader.names(checkpoint.config, number).items():
        writer.make_room(prod(layer.shapes[own_name]) * itemsize)
        # no name for the weight: it is freed as soon as its shard is written
        writer.add(
            f"transformer.{gpt2_name}",
            gpt2_reader.to_gpt2(
                _without_padding(layer, own_name, vocabulary),
                own_name,
                gpt2_name,
                checkpoint.config,
            ),
        )


def _without_padding(layer: layers.Layer, name: str, vocabulary: int) -> Tensor:
    if name == layers.WORDS:
        return layer.part(name, 0, vocabulary)
    return layer[name]


def _vocabulary(checkpoint: MegatronCheckpoint, tokenizer: Tokenizer | None) -> int:
    """The size without padding, on which checkpoint and tokenizer must agree.

    Raises CheckpointError where neither states it, DataError where they differ.
    """
    stated = checkpoint.vocabulary
    if tokenizer is None:
        if stated is None:
            raise CheckpointError(
                f"{checkpoint.path} does not state its vocabulary without padding",
                "add --tokenizer FOLDER",
            )
        return stated
    size = tokenizer.vocabulary_size
    padded = checkpoint.config.padded_vocab_size
    if size > padded or stated not in (size, None):
        limit = stated or f"at most {padded}"
        raise DataError(
            f"tokenizer {tokenizer.name} has {size} entries, {checkpoint.path} {limit}",
            "give the tokenizer that the model was trained with",
        )
    return size


def _notes(checkpoint: MegatronCheckpoint) -> tuple[str, ...]:
    notes = []
    if checkpoint.weights_from == megatron_reader.OPTIMIZER:
        notes.append("the weights are the optimizer's fp32 ones")
    if checkpoint.differing:
        names = ", ".join(sorted(checkpoint.differing)[:3])
        notes.append(
            f"tensor-parallel ranks have different copies of {len(checkpoint.differing)} weights"
            f" ({names}); the first rank's were used"
        )
    return tuple(notes)


def _record(kind: str, source: Path) -> dict[str, Any]:
    return {"conversion": kind, "source": str(source.absolute()), "encore": __version__}


def _layout_record(layout: MegatronLayout) -> dict[str, Any]:
    return {"trainer": layout.trainer.title, "tp": layout.tensor, "pp": layout.pipeline}


def _point_latest_at(step: Path) -> None:
    # its entries have to be on disk before `latest` names it
    files.fsync(step)
    files.write_text(step.parent / file_names.LATEST, step.name)


@contextlib.contextmanager
def _appearing_folder(out: Path, record: dict[str, Any]) -> Iterator[Path]:
    """A folder to fill, which becomes OUT when it is full; only an equal conversion is replaced."""
    with files.exclusive(out):
        _check_free(out, record)
        with files.atomic_folder(out) as folder:
            yield folder
            # last, so that a folder with a record is a whole conversion
            write_json(folder / RECORD, record)


def _check_free(out: Path, record: dict[str, Any]) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        same = read_json(out / RECORD) == record
    except (CheckpointError, NotADirectoryError):
        same = False
    if not same:
        raise OutputError(
            f"{out} already exists and is not this conversion",
            f"choose another folder, or remove it: rm -r {out}",
        )
