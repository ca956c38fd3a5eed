"""A Megatron-DeepSpeed checkpoint of any parallel degrees, read layer by layer.

The weights come from the layer files, else from the `module` of the mp_rank files (runs without
pipeline parallelism), else from ZeRO's fp32 partitions in the optimizer files.
source: TurkuNLP 6732bc9 megatron/model/{gpt_model,language_model}.py; deepspeedai 4efb479 has the
same names, and other layer numbers and rows (encore.checkpoints.trainer_format)
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from encore.checkpoints import file_names, layers, model_states, step_folder, tensor_parallel, zero
from encore.checkpoints.layers import Layer
from encore.checkpoints.model_states import ModelStates
from encore.checkpoints.torch_file import Weights, load, load_weights
from encore.errors import CheckpointError
from encore.model.config import (
    EMBEDDING_NUMBER,
    FIRST_BLOCK_NUMBER,
    ModelConfig,
    layer_numbers,
)

LAYERS = "layer files"
MODULES = "mp_rank files"
OPTIMIZER = "optimizer files"

_EMBEDDING = re.compile(
    r"(?:tied_modules\.embed|embedding)\.((?:word|position)_embeddings\.weight)"
)
_NUMBERED = re.compile(r"([0-9]+)\.(.+)")
_BLOCK = re.compile(r"(?:encoder|transformer)\.layers\.([0-9]+)\.(.+)")
_FINAL = re.compile(r"(?:encoder|transformer)\.final_layernorm\.(weight|bias)")
_DAMAGED = "it is damaged; use another step"
_FETCH = "fetch the missing files"


class WeightFiles(Protocol):
    """Where the weights of a layer are stored, by tensor-parallel rank."""

    def names(self, number: int, rank: int) -> set[str]:
        """The names of the weights in a rank's part of a layer."""

    def read(self, number: int, rank: int, name: str) -> Tensor:
        """A rank's part of one weight."""


@dataclass
class MegatronCheckpoint:
    """A checkpoint that can be read: `layer(number)` gives one layer, put together over ranks.

    `weights_from` is LAYERS, MODULES or OPTIMIZER. `differing` gathers the weights of which each
    tensor-parallel rank should have the same copy and does not; the first rank's are used.
    """

    path: Path
    states: ModelStates
    config: ModelConfig
    weights_from: str
    files: WeightFiles
    differing: set[str] = field(default_factory=set)

    @property
    def vocabulary(self) -> int | None:
        """Entries of the tokenizer that it was trained with; None where it does not state them."""
        return self.states.vocabulary(self.config.padded_vocab_size)

    @property
    def numbers(self) -> list[int]:
        """The numbers of its layers."""
        return layer_numbers(self.config.num_layers)

    def weights(self) -> dict[int, Layer]:
        """All layers by number, for GPT.fill; a weight is read when it is asked for."""
        return {number: self.layer(number) for number in self.numbers}

    def layer(self, number: int) -> Layer:
        """A layer's weights, put together one at a time. Raises CheckpointError."""
        names = self.files.names(number, 0)
        for rank in range(1, self.states.tensor_parallel):
            if self.files.names(number, rank) != names:
                raise CheckpointError(
                    f"{self.path}: the ranks' parts of {self._title(number)} hold different"
                    " weights",
                    _DAMAGED,
                )
        shapes = layers.shapes(self.config, number)
        where = f"{self.path}: {self._title(number)}"
        return Layer(partial(self._weight, number), names, shapes, where)

    def _title(self, number: int) -> str:
        """A layer's name to the user: the number is that of its file."""
        return f"layer {self.states.layer_numbers[number]}"

    def _weight(self, number: int, name: str, span: tuple[int, int] | None) -> Tensor:
        ranks = self.states.tensor_parallel
        axis = tensor_parallel.split_axis(name)
        if axis is not None and ranks > 1:
            return self._joined_weight(number, name, axis, span)
        first = self._part(number, 0, name)
        for rank in range(1, ranks):
            if not torch.equal(self._part(number, rank, name), first):
                self.differing.add(f"{self._title(number)} {name}")
        if span is None:
            return first
        return tensor_parallel.part(first, name, *span)

    def _joined_weight(
        self, number: int, name: str, axis: int, span: tuple[int, int] | None
    ) -> Tensor:
        """What the ranks store of a divided weight in `span`, of all of it where that is None."""
        shape = layers.shapes(self.config, number)[name]
        size = shape[axis] // self.states.tensor_parallel
        start, stop = span or (0, shape[axis])
        joined_shape = [*shape]
        joined_shape[axis] = stop - start
        # Whole matrices of a block are laid out by columns, as GPT-2 stores them: transposing one
        # for transformers then copies nothing.
        by_columns = span is None and len(shape) == 2 and number != EMBEDDING_NUMBER
        # Made when the first part is read, which has its type; parts are read one at a time.
        whole: Tensor | None = None
        for rank in range(start // size, -(-stop // size)):
            part = self._part(number, rank, name)
            if whole is None and by_columns:
                whole = part.new_empty(joined_shape[::-1]).T
            elif whole is None:
                whole = part.new_empty(joined_shape)
            begin = max(start, rank * size)
            end = min(stop, (rank + 1) * size)
            source = part.narrow(axis, begin - rank * size, end - begin)
            whole.narrow(axis, begin - start, end - begin).copy_(source)
            del part, source  # or the next part would be in memory beside it
        assert whole is not None  # no span is empty
        return whole

    def _part(self, number: int, rank: int, name: str) -> Tensor:
        """A rank's part of a weight, fused rows head by head, its shape checked."""
        ranks = self.states.tensor_parallel
        value = self.files.read(number, rank, name)
        shape = [*layers.shapes(self.config, number)[name]]
        axis = tensor_parallel.split_axis(name)
        if axis is not None:
            shape[axis] //= ranks
        layers.check_shape(value, tuple(shape), f"{self.path}: {self._title(number)} {name}")
        heads = self.config.num_attention_heads // ranks
        return layers.by_head(name, value, heads, self.states.row_order)


def find(path: Path) -> Path:
    """The step folder that a path means: itself, or the newest complete one below it.

    Raises CheckpointError.
    """
    # any of its files will do: inspect wants to name what a damaged step folder lacks
    if next(path.glob("*_states.pt"), None):
        return path
    newest = step_folder.newest(path, optimizer=False)
    if newest.step is None:
        reasons = "; ".join(newest.passed_over) or "it has no global_stepN folder"
        raise CheckpointError(
            f"{path} is no checkpoint and holds no complete one: {reasons}",
            "give a global_stepN folder",
        )
    return newest.step


def read(path: Path, from_optimizer: bool = False) -> MegatronCheckpoint:
    """A step folder, or the newest complete one of several, ready to be read layer by layer.

    from_optimizer: whether to read ZeRO's fp32 weights in place of those that training used.
    Raises CheckpointError.
    """
    step = find(path)
    states = model_states.read(step)
    config = model_states.model_config(states.arguments)
    ranks = states.tensor_parallel
    for name in ("num_attention_heads", "ffn_hidden_size", "padded_vocab_size"):
        size = getattr(config, name)
        if size % ranks:
            raise CheckpointError(
                f"{step} states {name} {size} and {ranks} tensor-parallel ranks", _DAMAGED
            )
    source = OPTIMIZER if from_optimizer else weights_from(states)
    return MegatronCheckpoint(step, states, config, source, _open(source, states))


def weights_from(states: ModelStates) -> str:
    """Where a checkpoint has its weights: LAYERS, MODULES or OPTIMIZER; "" where it has none."""
    # the order matters: a checkpoint with layer files has optimizer files as well
    if file_names.layer_files(states.step):
        return LAYERS
    if states.holds_weights:
        return MODULES
    if file_names.optimizer_files(states.step):
        return OPTIMIZER
    return ""


def _open(source: str, states: ModelStates) -> WeightFiles:
    if source == LAYERS:
        return _LayerFiles(_paths_by_layer(states))
    if source == MODULES:
        return _ModuleFiles(states)
    if source == OPTIMIZER:
        return _OptimizerFiles(states)
    raise CheckpointError(
        f"{states.step} has neither layer files nor weights in mp_rank or optimizer files", _FETCH
    )


@dataclass(frozen=True)
class _LayerFiles:
    """One file per layer and tensor-parallel rank, in `paths[number][rank]`."""

    paths: dict[int, list[Path]]

    # A file is mapped anew for every weight: keeping it would keep all pages that were read of it.
    def names(self, number: int, rank: int) -> set[str]:
        return set(load_weights(self.paths[number][rank]))

    def read(self, number: int, rank: int, name: str) -> Tensor:
        return load_weights(self.paths[number][rank])[name]


def _paths_by_layer(states: ModelStates) -> dict[int, list[Path]]:
    """The layer files under this kit's layer numbers.

    Raises CheckpointError where one is missing, or they are another trainer's.
    """
    step_folder.check_layer_files(states)
    step = states.step
    ranks = states.tensor_parallel
    stored = file_names.layer_files(step)
    numbers = states.layer_numbers
    missing = [file_names.layer_file(n) for n in numbers.values() if n not in stored]
    if missing:
        raise CheckpointError(
            f"{step} has files of {len(stored)} layers, its model {len(numbers)}:"
            f" {', '.join(missing[:3])} is missing",
            _FETCH,
        )
    for number, paths in stored.items():
        expected = [step / file_names.layer_file(number, rank) for rank in range(ranks)]
        missing = [path.name for path in expected if path not in paths]
        if missing:
            raise CheckpointError(
                f"{step}: {', '.join(missing)} is missing, tensor-parallel degree {ranks}", _FETCH
            )
    return {own: stored[number] for own, number in numbers.items()}


@dataclass(frozen=True)
class _ModuleFiles:
    """All layers of a tensor-parallel rank in its mp_rank file."""

    states: ModelStates

    def names(self, number: int, rank: int) -> set[str]:
        return set(_names_in_layer(self._weights(rank), number, self.states).values())

    def read(self, number: int, rank: int, name: str) -> Tensor:
        weights = self._weights(rank)
        for full_name, own_name in _names_in_layer(weights, number, self.states).items():
            if own_name == name:
                return weights[full_name]
        raise KeyError(name)

    def _weights(self, rank: int) -> Weights:
        path = self.states.step / file_names.model_states_file(rank)
        states = load(path, mapped=True)
        module = states.get("module") if isinstance(states, dict) else None
        if not isinstance(module, dict):
            return {}
        return dict(_flattened(module))


class _OptimizerFiles:
    """ZeRO's partitions, by model rank: the pipeline stages of each tensor-parallel rank."""

    def __init__(self, states: ModelStates) -> None:
        self.states = states
        self.partitions = []
        for model_rank in range(states.tensor_parallel * states.pipeline_parallel):
            shapes = model_states.read(states.step, model_rank).raw.get("param_shapes")
            self.partitions.append(zero.partitions(states.step, model_rank, shapes))

    def names(self, number: int, rank: int) -> set[str]:
        names: set[str] = set()
        for stage in self._stages(rank):
            names |= set(_names_in_layer(stage.shapes, number, self.states).values())
        return names

    def read(self, number: int, rank: int, name: str) -> Tensor:
        # the first stage comes first; the last has a copy of the tied embedding
        for stage in self._stages(rank):
            for full_name, own_name in _names_in_layer(stage.shapes, number, self.states).items():
                if own_name == name:
                    return stage.read(full_name)
        raise KeyError(name)

    def _stages(self, rank: int) -> list[zero.Partitions]:
        return self.partitions[rank :: self.states.tensor_parallel]


def _flattened(module: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in module.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            yield f"{prefix}{name}", value


def _names_in_layer(names: Iterable[str], number: int, states: ModelStates) -> dict[str, str]:
    """The names that belong to a layer, each with what the layer's file would call it.

    Raises CheckpointError for a weight that a GPT does not have.
    """
    own_names: dict[str, str] = {}
    own_numbers = {stored: own for own, stored in states.layer_numbers.items()}
    for full_name in names:
        name = full_name.removeprefix("module.").removeprefix("language_model.")
        layer, own_name = _layer_and_name(name, own_numbers)
        if layer == number:
            own_names[full_name] = own_name
    return own_names


def _layer_and_name(name: str, own_numbers: Mapping[int, int]) -> tuple[int | None, str]:
    """The layer of a weight and its name there. own_numbers: by the number that is stored."""
    if match := _EMBEDDING.fullmatch(name):
        return EMBEDDING_NUMBER, match[1]
    if match := _BLOCK.fullmatch(name):
        own_name = re.sub(r"^attention\.", "self_attention.", match[2])
        return FIRST_BLOCK_NUMBER + int(match[1]), own_name
    if match := _FINAL.fullmatch(name):
        return max(own_numbers.values()), match[1]
    match = _NUMBERED.fullmatch(name)
    if match and int(match[1]) in own_numbers:
        return own_numbers[int(match[1])], match[2]
    if name.startswith("word_embeddings_for_head."):  # the last stage's copy of the tied embedding
        return None, name
    raise CheckpointError(
        f"the checkpoint has a weight {name}, which is no weight of a GPT",
        "only a GPT with learned positions and GELU can be read",
    )
