"""A Megatron-DeepSpeed checkpoint, read layer by layer, at any tensor- and pipeline-parallel degree.

The weights come from the layer files, else from the `module` of the mp_rank files (runs without pipeline), else from
ZeRO's fp32 partitions in the optimizer files.
Source: TurkuNLP 6732bc9 megatron/model/{gpt_model,language_model}.py, deepspeedai/Megatron-DeepSpeed the same.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encore.checkpoints import file_names, layers, safe_load, step_folder, tensor_parallel, zero
from encore.checkpoints.layers import Layer
from encore.checkpoints.tensor_parallel import Weights
from encore.errors import CheckpointError
from encore.model.config import ModelConfig, layer_numbers

LAYERS, MODULES, OPTIMIZER = "layer files", "mp_rank files", "optimizer files"
_EMBEDDING = re.compile(
    r"(?:tied_modules\.embed|embedding)\.((?:word|position)_embeddings\.weight)"
)
_NUMBERED = re.compile(r"(\d+)\.(.+)")
_BLOCK = re.compile(r"(?:encoder|transformer)\.layers\.(\d+)\.(.+)")
_FINAL = re.compile(r"(?:encoder|transformer)\.final_layernorm\.(weight|bias)")

# (layer number, tensor-parallel rank, name) → that weight; with None for the name all, of which the names count
PartReader = Callable[[int, int, str | None], Weights]
_DAMAGED = "it is damaged; take another"


@dataclass
class MegatronCheckpoint:
    """A checkpoint that can be read: `layer(number)` gives one layer, put together.

    `vocabulary` is the size without padding, None where the checkpoint does not state it. `differing` gathers the
    weights of which each tensor-parallel rank should have the same copy and has not; the first rank's are taken.
    """

    path: Path
    states: dict[str, Any]
    arguments: dict[str, Any]
    config: ModelConfig
    tensor: int
    pipeline: int
    weights_from: str
    part: PartReader
    differing: set[str] = field(default_factory=set)

    @property
    def vocabulary(self) -> int | None:
        """Entries of the tokenizer that it was trained with."""
        return vocabulary(self.states, self.arguments, self.config)

    @property
    def numbers(self) -> list[int]:
        """The numbers of its layers."""
        return layer_numbers(self.config.num_layers)

    def weights(self) -> dict[int, Layer]:
        """All layers by number, for GPT.fill; a weight is read when it is asked for."""
        return {number: self.layer(number) for number in self.numbers}

    def layer(self, number: int) -> Layer:
        """A layer's weights, put together one at a time. Raises CheckpointError."""
        ranks = [set(self.part(number, rank, None)) for rank in range(self.tensor)]
        if any(names != ranks[0] for names in ranks):
            raise CheckpointError(
                f"{self.path}: the parts of layer {number} hold other weights each", _DAMAGED
            )
        shapes = layers.shapes(self.config, number)
        return Layer(
            partial(self._weight, number), ranks[0], shapes, f"{self.path}: layer {number}"
        )

    def _weight(self, number: int, name: str, span: tuple[int, int] | None) -> Tensor:
        axis = tensor_parallel.split_axis(name)
        if axis is not None and self.tensor > 1:
            return self._joined(number, name, axis, span)
        first = self._part(number, 0, name)
        if not all(
            torch.equal(self._part(number, rank, name), first) for rank in range(1, self.tensor)
        ):
            self.differing.add(f"layer {number} {name}")
        return first if span is None else tensor_parallel.part(first, name, *span)

    def _joined(self, number: int, name: str, axis: int, span: tuple[int, int] | None) -> Tensor:
        """What the ranks hold of a divided weight between the ends of `span`, of all of it with None."""
        shape = layers.shapes(self.config, number)[name]
        size = shape[axis] // self.tensor
        start, stop = span or (0, shape[axis])
        needed = [stop - start if at == axis else length for at, length in enumerate(shape)]
        held: Tensor | None = None
        for rank in range(start // size, -(-stop // size)):
            part = self._part(number, rank, name)
            if held is None:
                # a whole one of a block by columns, as GPT-2's form has them, so that turning it over copies nothing
                by_columns = span is None and len(shape) == 2 and number != 1
                held = part.new_empty(needed[::-1]).T if by_columns else part.new_empty(needed)
            begin, end = max(start, rank * size), min(stop, (rank + 1) * size)
            held.narrow(axis, begin - start, end - begin).copy_(
                part.narrow(axis, begin - rank * size, end - begin)
            )
            del part  # or the next would be read beside it
        assert held is not None  # no span is empty
        return held

    def _part(self, number: int, rank: int, name: str) -> Tensor:
        version, heads = (
            self.states.get("checkpoint_version", 0),
            self.config.num_attention_heads // self.tensor,
        )
        value, needed = (
            self.part(number, rank, name)[name],
            list(layers.shapes(self.config, number)[name]),
        )
        if (axis := tensor_parallel.split_axis(name)) is not None:
            needed[axis] //= self.tensor
        layers.check_shape(value, tuple(needed), f"{self.path}: layer {number} {name}")
        return layers.in_current_order(name, value, heads, version)


def find(path: Path) -> Path:
    """The step folder that a path means: itself, or the newest complete one below it. Raises CheckpointError."""
    if next(path.glob("*_states.pt"), None):
        return path
    newest = step_folder.newest(path, optimizer=False)
    if newest.step is None:
        reasons = "; ".join(newest.passed_over) or "it has no global_stepN folder"
        raise CheckpointError(
            f"{path} is no checkpoint and holds none that is whole: {reasons}",
            "name a global_stepN folder",
        )
    return newest.step


def read(path: Path, from_optimizer: bool = False) -> MegatronCheckpoint:
    """A step folder, or the newest complete one of several, ready to be read layer by layer. Raises CheckpointError."""
    path = find(path)
    states = safe_load.model_states(path, mapped=True)
    arguments = safe_load.arguments(states)
    config = layers.config(arguments)
    tensor, pipeline = degrees(states, arguments)
    version = states.get("checkpoint_version", 0)
    if type(version) not in (int, float):
        raise CheckpointError(f"{path} states version {version!r}", _DAMAGED)
    for name in ("num_attention_heads", "ffn_hidden_size", "padded_vocab_size"):
        if getattr(config, name) % tensor:
            raise CheckpointError(
                f"{path} has {name} {getattr(config, name)} in {tensor} parts", _DAMAGED
            )
    source, part = _part_of(path, states, config, tensor, pipeline, from_optimizer)
    return MegatronCheckpoint(path, states, arguments, config, tensor, pipeline, source, part)


def degrees(states: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[int, int]:
    """Tensor- and pipeline-parallel degree. Raises CheckpointError."""
    tensor = (
        arguments.get("tensor_model_parallel_size") or arguments.get("model_parallel_size") or 1
    )
    pipeline = arguments.get("pipeline_model_parallel_size") or 1
    if (
        type(tensor) is not int
        or type(pipeline) is not int
        or not (0 < tensor < 10**4 and 0 < pipeline < 10**4)
    ):
        raise CheckpointError(
            f"the checkpoint states parallel degrees {tensor!r} and {pipeline!r}", _DAMAGED
        )
    return tensor, pipeline


def vocabulary(
    states: Mapping[str, Any], arguments: Mapping[str, Any], model: ModelConfig
) -> int | None:
    """Entries without padding, None where the checkpoint does not state them."""
    info = states.get("checkpoint_info")
    stated = info.get("original_vocab_size") if isinstance(info, dict) else None
    stated = stated or arguments.get("vocab_size")
    return stated if type(stated) is int and 0 < stated <= model.padded_vocab_size else None


def weights_from(step: Path, states: Mapping[str, Any]) -> str | None:
    """Where a checkpoint has its weights; None where it has none."""
    if file_names.layer_files(step):
        return LAYERS
    if isinstance(states.get("module"), dict) and states["module"]:
        return MODULES
    return OPTIMIZER if file_names.optimizer_files(step) else None


def _part_of(
    step: Path,
    states: dict[str, Any],
    config: ModelConfig,
    tensor: int,
    pipeline: int,
    from_optimizer: bool,
) -> tuple[str, PartReader]:
    source = OPTIMIZER if from_optimizer else weights_from(step, states)
    if source == LAYERS:
        return LAYERS, _of_layer_files(step, config, tensor)
    if source == MODULES:
        return MODULES, _of_modules(step, config, tensor)
    if source == OPTIMIZER:
        return OPTIMIZER, _of_optimizer(step, config, tensor, pipeline)
    raise CheckpointError(
        f"{step} has neither layer files nor weights in mp_rank or optimizer files", "take another"
    )


def _of_layer_files(step: Path, config: ModelConfig, tensor: int) -> PartReader:
    found = file_names.layer_files(step)
    numbers = layer_numbers(config.num_layers)
    if len(found) != len(numbers):
        raise CheckpointError(
            f"{step} has files of {len(found)} layers, its model {len(numbers)}: {_gap(found, numbers)}",
            "fetch the missing files",
        )
    # forks that change the data's form otherwise between layers number them otherwise, in the same order
    paths = dict(zip(numbers, found.values(), strict=True))
    for number, ranks in zip(found, paths.values(), strict=True):
        wanted = [step / file_names.layer_file(number, rank) for rank in range(tensor)]
        missing = [path.name for path in wanted if path not in ranks]
        if missing or len(ranks) != tensor:
            what = (
                f"{', '.join(missing)} is missing"
                if missing
                else f"layer {number} has {len(ranks)} parts"
            )
            raise CheckpointError(
                f"{step}: {what}, tensor-parallel degree {tensor}", "fetch the missing files"
            )
    return lambda number, rank, name: _weights(
        safe_load.load(paths[number][rank], mapped=True), paths[number][rank]
    )


def _gap(found: Mapping[int, Any], numbers: list[int]) -> str:
    missing = [file_names.layer_file(number) for number in numbers if number not in found]
    return f"{', '.join(missing[:3])} is missing" if missing else "it has too many"


def _of_modules(step: Path, config: ModelConfig, tensor: int) -> PartReader:
    def part(number: int, rank: int, name: str | None) -> Weights:
        module = safe_load.model_states(step, rank, mapped=True).get("module")
        flat = dict(_flattened(module if isinstance(module, dict) else {}))
        return {own: flat[full] for full, own in _named(flat, number, config).items()}

    return part


def _of_optimizer(step: Path, config: ModelConfig, tensor: int, pipeline: int) -> PartReader:
    ranks = []
    for model_rank in range(tensor * pipeline):
        shapes = safe_load.model_states(step, model_rank, mapped=True).get("param_shapes")
        ranks.append(zero.partitions(step, model_rank, shapes))

    def part(number: int, rank: int, name: str | None) -> Weights:
        found: Weights = {}
        for stage in ranks[
            rank::tensor
        ]:  # the last has a copy of the tied embedding, the first comes first
            for full, own in _named(stage.shapes, number, config).items():
                if own not in found and name in (None, own):
                    found[own] = stage.read(full) if name else torch.empty(0)
        return found

    return part


def _weights(held: Any, path: Path) -> Weights:
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise CheckpointError(f"{path} holds more than weights by name", "take another checkpoint")
    return held


def _flattened(module: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in module.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{name}", value


def _named(names: Iterable[str], number: int, config: ModelConfig) -> dict[str, str]:
    """Those of a module's weights that belong to a layer, and what its file would call them. Raises CheckpointError."""
    found: dict[str, str] = {}
    for full in names:
        layer, name = _place(full.removeprefix("module.").removeprefix("language_model."), config)
        if layer == number:
            found[full] = name
    return found


def _place(name: str, config: ModelConfig) -> tuple[int | None, str]:
    if match := _EMBEDDING.fullmatch(name):
        return 1, match[1]
    if match := _BLOCK.fullmatch(name):
        return 3 + int(match[1]), re.sub(r"^attention\.", "self_attention.", match[2])
    if match := _FINAL.fullmatch(name):
        return 4 + config.num_layers, match[1]
    if match := _NUMBERED.fullmatch(name):
        return int(match[1]), match[2]
    if name.startswith("word_embeddings_for_head."):  # the last stage's copy of the tied embedding
        return None, name
    raise CheckpointError(
        f"the checkpoint has a weight {name}, which a GPT has not", "take one of a GPT"
    )
