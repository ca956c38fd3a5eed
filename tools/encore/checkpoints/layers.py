"""The layers of a Megatron GPT: what each holds, in which row order, and what pads the vocabulary.

Weights are keyed by the numbers of encore.model.config and by Megatron's names, whole, their fused
rows head by head: what `encore.model.gpt.GPT.fill` accepts, whichever trainer stored them how.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from encore.checkpoints import tensor_parallel
from encore.checkpoints.fields import Fields
from encore.checkpoints.trainer_format import RowOrder
from encore.errors import CheckpointError, UsageError
from encore.model.config import (
    EMBEDDING_NUMBER,
    HINT,
    LARGEST_SIZE,
    ModelConfig,
    final_layernorm_number,
    padded_vocabulary,
)

Shape = tuple[int, ...]
# (name, span) → a weight, or what lies in `span` along the axis that tensor-parallel ranks divide
ReadWeight = Callable[[str, tuple[int, int] | None], Tensor]

WORDS = "word_embeddings.weight"
POSITIONS = "position_embeddings.weight"
_FUSED = ("query_key_value.weight", "query_key_value.bias")

_SLICE_ROWS = 4096
# more rows of padding than any model has words would be damage
_LARGEST_MULTIPLE = 1 << 16


def shapes(model: ModelConfig, number: int) -> dict[str, Shape]:
    """The names and shapes of a layer's weights, as `encore.model.gpt` has them."""
    width = model.hidden_size
    if number == EMBEDDING_NUMBER:
        return {
            WORDS: (model.padded_vocab_size, width),
            POSITIONS: (model.max_position_embeddings, width),
        }
    if number == final_layernorm_number(model.num_layers):
        return {"weight": (width,), "bias": (width,)}
    matrices = {
        "self_attention.query_key_value": (3 * model.attention_size, width),
        "self_attention.dense": (width, model.attention_size),
        "mlp.dense_h_to_4h": (model.ffn_hidden_size, width),
        "mlp.dense_4h_to_h": (width, model.ffn_hidden_size),
    }
    block: dict[str, Shape] = {}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        block[f"{norm}.weight"] = (width,)
        block[f"{norm}.bias"] = (width,)
    for name, shape in matrices.items():
        block[f"{name}.weight"] = shape
    for name, shape in matrices.items():
        block[f"{name}.bias"] = shape[:1]
    return block


class Layer(Mapping[str, Tensor]):
    """A layer whose weights are read one by one when they are asked for, and are not kept.

    `read` checks the whole weight's shape, and gives a span of it storage of its own. `where` names
    the layer to the user. Raises CheckpointError unless `names` are exactly those of `shapes`.
    """

    def __init__(
        self, read: ReadWeight, names: Iterable[str], shapes: dict[str, Shape], where: str
    ) -> None:
        self._read = read
        self.shapes = shapes
        stored = set(names)
        problems = [f"lacks {name}" for name in shapes if name not in stored]
        for name in sorted(stored - shapes.keys()):
            problems.append(f"has {name}, which is no weight of a GPT")
        if problems:
            raise CheckpointError(f"{where} {'; '.join(problems)}", HINT)

    def __getitem__(self, name: str) -> Tensor:
        return self._read(name, None)

    def part(self, name: str, start: int, stop: int) -> Tensor:
        """From `start` to before `stop` along the divided axis, in storage of its own."""
        return self._read(name, (start, stop))

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


class LayerSource(Protocol):
    """A model that can be read layer by layer."""

    @property
    def numbers(self) -> list[int]:
        """The numbers of its layers."""

    def layer(self, number: int) -> Layer:
        """The layer of that number."""


def check_shape(value: Tensor, expected: Shape, where: str) -> None:
    """Raises CheckpointError where a weight does not have the shape that the arguments promise."""
    if tuple(value.shape) != expected:
        raise CheckpointError(
            f"{where} is {_times(value.shape)}, not {_times(expected)}",
            "its arguments belong to another model; fetch the whole checkpoint again",
        )


def _times(shape: Shape) -> str:
    return "×".join(map(str, shape))


def by_head(name: str, value: Tensor, heads: int, order: RowOrder) -> Tensor:
    """The fused projection's rows, stored in `order`, as (head, q|k|v, channel).

    value: one tensor-parallel rank's part, of `heads` heads; other weights come back as they are.
    """
    if order is RowOrder.HEADS or not name.endswith(_FUSED):
        return value
    rest = value.shape[1:]
    if order is RowOrder.THIRDS:
        return value.reshape(3, heads, -1, *rest).transpose(0, 1).reshape(value.shape)
    return value.reshape(heads, -1, 3, *rest).transpose(1, 2).reshape(value.shape)


def in_order(name: str, value: Tensor, heads: int, order: RowOrder) -> Tensor:
    """The inverse of `by_head`, of rows (head, q|k|v, channel), in storage of its own."""
    if order is RowOrder.HEADS or not name.endswith(_FUSED):
        return value
    rows = value.reshape(heads, 3, -1, *value.shape[1:])
    axes = (0, 1) if order is RowOrder.THIRDS else (1, 2)
    return rows.transpose(*axes).reshape(value.shape)


def rank_part(layer: Layer, name: str, rank: int, ranks: int) -> Tensor:
    """A tensor-parallel rank's part of a weight, in storage of its own."""
    axis = tensor_parallel.split_axis(name)
    if axis is None:
        return layer[name].clone(memory_format=torch.contiguous_format)
    size = layer.shapes[name][axis] // ranks
    return layer.part(name, rank * size, (rank + 1) * size)


def padded_size(vocabulary: int, arguments: Mapping[str, Any], tensor: int) -> int:
    """The rows of the word embeddings as Megatron pads them for this many tensor-parallel ranks.

    arguments: Megatron's; pad_vocab_size_to is its own word on it. Raises UsageError, and
    CheckpointError for values that cannot be.
    """
    stated = Fields(arguments, "the checkpoint")
    fixed = stated.size("pad_vocab_size_to", LARGEST_SIZE)
    if fixed is None:
        multiple = stated.size("make_vocab_size_divisible_by", _LARGEST_MULTIPLE) or 128
        return padded_vocabulary(vocabulary, multiple, tensor)
    if fixed < vocabulary or fixed % tensor:
        raise UsageError(
            f"--tp {tensor} does not divide pad_vocab_size_to {fixed}",
            f"choose a divisor of {fixed}",
        )
    return fixed


def words_part(layer: Layer, vocabulary: int, padded: int, rank: int, ranks: int) -> Tensor:
    """A rank's rows of the word embeddings at `padded` rows: the layer's own, then new padding.

    New padding is the mean of the vocabulary's rows. Megatron's loss counts the padding's logits,
    and a mean row's logit is the words' mean logit, so that by Jensen's inequality it weighs no
    more than the average word. Rows of zeros would outweigh all of GPT-2's words.
    """
    start = rank * padded // ranks
    stop = (rank + 1) * padded // ranks
    stored, width = layer.shapes[WORDS]
    if stop <= stored:
        return layer.part(WORDS, start, stop)
    total = torch.zeros(width, dtype=torch.float64)
    for _, words in _slices(layer, 0, vocabulary):
        total += words.double().sum(0)
    rows = torch.empty(stop - start, width, dtype=layer.part(WORDS, 0, 1).dtype)
    rows[:] = total / vocabulary
    for first, words in _slices(layer, start, stored):
        rows[first - start : first - start + len(words)] = words
    return rows


def _slices(layer: Layer, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
    """The word embeddings a few rows at a time, each slice with its first row's number."""
    for first in range(start, stop, _SLICE_ROWS):
        yield first, layer.part(WORDS, first, min(first + _SLICE_ROWS, stop))
