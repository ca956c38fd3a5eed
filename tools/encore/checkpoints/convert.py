"""Whole conversions between Megatron-DeepSpeed's layout and transformers', each into a folder that appears at once.

A conversion is written under a temporary name beside OUT and renamed when all of it is on disk, conversion.json last: a
killed one leaves OUT as it was, and the same command then ends with the same bytes.
"""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from encore import __version__, files
from encore.checkpoints import (
    gpt2_reader,
    gpt2_tokenizer,
    layers,
    megatron_reader,
    megatron_writer,
    safetensors_shards,
)
from encore.checkpoints.megatron_reader import MegatronCheckpoint
from encore.errors import CheckpointError, DataError, OutputError
from encore.tokens.tokenizer import Tokenizer

RECORD = "conversion.json"


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: where it is, and what the user should know of it."""

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
    """A Megatron-DeepSpeed checkpoint as a transformers folder. Raises CheckpointError, DataError, OutputError."""
    step = megatron_reader.read(source, from_optimizer)
    vocabulary = _vocabulary(step, tokenizer)
    end = tokenizer.eod if tokenizer else None
    gpt2_reader.heads(step.config)
    record = _record(
        "to-transformers", step.path, weights_from=step.weights_from, vocabulary=vocabulary
    )
    if tokenizer:
        record["tokenizer"] = tokenizer.describe()["sha256"]
    with _appearing(out, record) as folder:
        writer = safetensors_shards.ShardWriter(folder, shard_bytes)
        dtype = step.layer(1)["position_embeddings.weight"].dtype
        for number in step.numbers:
            _add(writer, step, number, vocabulary, dtype.itemsize)
        writer.finish()
        safetensors_shards.write_json(
            folder / "config.json", gpt2_reader.config(step.config, vocabulary, dtype, end)
        )
        safetensors_shards.write_json(
            folder / "generation_config.json", {"bos_token_id": end, "eos_token_id": end}
        )
        if tokenizer:
            gpt2_tokenizer.write(tokenizer, folder, step.config.max_position_embeddings)
    return Conversion(out, record, _notes(step))


def to_megatron(source: Path, out: Path, tensor: int, pipeline: int) -> Conversion:
    """A transformers GPT-2 folder in Megatron-DeepSpeed's layout. Raises CheckpointError, UsageError, OutputError."""
    model = gpt2_reader.read(source)
    into = megatron_writer.target(model.config, model.vocabulary, {}, tensor, pipeline)
    record = _record("to-megatron", source, tp=tensor, pp=pipeline, vocabulary=model.vocabulary)
    with _appearing(out, record) as folder:
        step = folder / "global_step0"
        step.mkdir()
        dtype = megatron_writer.write_layers(step, into, model)
        megatron_writer.write_states(step, into, dtype, {})
        _point_at(step)
    notes = [
        "the folder holds no optimizer state: train with --finetune, or with --no-load-optim --no-load-rng "
        "--override-lr-scheduler"
    ]
    if not model.config.bias_gelu_fusion:
        notes.append(
            f"{source / 'config.json'} says gelu, the exact one, for which Megatron needs --no-bias-gelu-fusion; a "
            "model that Megatron trained with its default has gelu_new"
        )
    return Conversion(out / "global_step0", record, tuple(notes))


def reshard(
    source: Path,
    out: Path,
    tensor: int,
    pipeline: int,
    tokenizer: Tokenizer | None,
    from_optimizer: bool = False,
) -> Conversion:
    """A Megatron-DeepSpeed checkpoint at other parallel degrees. Raises CheckpointError, UsageError, OutputError."""
    held = megatron_reader.read(source, from_optimizer)
    into = megatron_writer.target(
        held.config, _vocabulary(held, tokenizer), held.arguments, tensor, pipeline
    )
    record = _record("reshard", held.path, weights_from=held.weights_from, tp=tensor, pp=pipeline)
    with _appearing(out, record) as folder:
        step = folder / _step_name(held)
        step.mkdir()
        dtype = megatron_writer.write_layers(step, into, held)
        megatron_writer.write_states(step, into, dtype, held.states)
        _point_at(step)
    note = "optimizer and random states belong to the layout that wrote them and are not carried over: "
    notes = (*_notes(held), note + "go on with --no-load-optim --no-load-rng, or with --finetune")
    return Conversion(out / _step_name(held), record, notes)


def _add(
    writer: safetensors_shards.ShardWriter,
    step: MegatronCheckpoint,
    number: int,
    vocabulary: int,
    itemsize: int,
) -> None:
    """Hand a layer to the writer, which makes room for each weight before it is read."""
    layer, sizes = step.layer(number), layers.shapes(step.config, number)
    for ours, theirs in gpt2_reader.names(step.config, number).items():
        writer.make_room(prod(sizes[ours]) * itemsize)
        writer.add(f"transformer.{theirs}", _turned(layer, ours, theirs, step, vocabulary))


def _turned(
    layer: layers.Layer, ours: str, theirs: str, step: MegatronCheckpoint, vocabulary: int
) -> Tensor:
    value = layer.part(ours, 0, vocabulary) if ours == layers.WORDS else layer[ours]
    return gpt2_reader.to_gpt2(value, ours, theirs, step.config)


def _vocabulary(step: MegatronCheckpoint, tokenizer: Tokenizer | None) -> int:
    """The size without padding, as the checkpoint and the tokenizer agree on it."""
    given = tokenizer.vocabulary_size if tokenizer else None
    if step.vocabulary is None and given is None:
        raise CheckpointError(
            f"{step.path} does not state its vocabulary without padding", "give its --tokenizer"
        )
    if given is not None and (
        given != (step.vocabulary or given) or given > step.config.padded_vocab_size
    ):
        stated = step.vocabulary or f"at most {step.config.padded_vocab_size}"
        raise DataError(
            f"tokenizer {tokenizer.name} has {given} entries, {step.path} {stated}", "give its own"
        )
    return step.vocabulary or given


def _notes(step: MegatronCheckpoint) -> tuple[str, ...]:
    notes = []
    if step.weights_from == megatron_reader.OPTIMIZER:
        notes.append("the weights are the optimizer's own, in fp32")
    if step.differing:
        first = ", ".join(sorted(step.differing)[:3])
        notes.append(
            f"tensor-parallel ranks have different copies of {len(step.differing)} weights ({first}); the first "
            "rank's are taken"
        )
    return tuple(notes)


def _step_name(step: MegatronCheckpoint) -> str:
    iteration = step.states.get("iteration")
    return f"global_step{iteration if type(iteration) is int and iteration >= 0 else 0}"


def _record(kind: str, source: Path, **more: Any) -> dict[str, Any]:
    return {"conversion": kind, "source": str(source.absolute()), "encore": __version__, **more}


def _point_at(step: Path) -> None:
    """`latest` names the step."""
    files.fsync(step)
    files.write_text(step.parent / "latest", step.name)


@contextlib.contextmanager
def _appearing(out: Path, record: dict[str, Any]) -> Iterator[Path]:
    """A folder to fill, which becomes OUT when it is full and on disk; only an equal conversion is replaced."""
    with files.exclusive(out):
        _check_free(out, record)
        folder, replaced = (
            out.with_name(f".{out.name}.{state}") for state in ("unfinished", "replaced")
        )
        for left in (folder, replaced):
            if left.exists():
                shutil.rmtree(left)
        folder.mkdir(parents=True)
        try:
            yield folder
            safetensors_shards.write_json(folder / RECORD, record)
            for path in folder.iterdir():
                files.fsync(path)
            files.fsync(folder)
        except BaseException:
            shutil.rmtree(folder)
            raise
        if out.exists():
            out.rename(replaced)
        folder.rename(out)
        files.fsync(out.parent)
        shutil.rmtree(replaced, ignore_errors=True)


def _check_free(out: Path, record: dict[str, Any]) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        same = safetensors_shards.read_json(out / RECORD) == record
    except (CheckpointError, NotADirectoryError):
        same = False
    if not same:
        raise OutputError(
            f"{out} is there already and is not this conversion",
            "choose another folder or remove it",
        )
