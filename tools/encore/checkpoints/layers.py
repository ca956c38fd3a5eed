"""The layers of a Megatron GPT: what each must hold, how tensor-parallel ranks share it, what pads the vocabulary.

Weights are keyed by Megatron-DeepSpeed's layer numbers and names, put together over ranks, in the row order of
checkpoint version 2 and later: what `encore.model.gpt.GPT.fill` takes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from encore.checkpoints import tensor_parallel
from encore.checkpoints.safe_load import StandIn
from encore.errors import CheckpointError, UsageError
from encore.model.config import ModelConfig

Read = Callable[[str, tuple[int, int] | None], Tensor]
_HINT = "take a checkpoint of a GPT"
WORDS = "word_embeddings.weight"
_SLICE_ROWS = 4096


def config(arguments: Mapping[str, Any]) -> ModelConfig:
    """The shape of the model that was trained with these arguments.

    Raises CheckpointError for a model that is not a GPT of this kind.
    """
    plain = dict(arguments)
    position = plain.get("position_embedding_type")
    if isinstance(position, StandIn):
        plain["position_embedding_type"] = position.values[0] if position.values else None
    return ModelConfig.of(plain)


def _size(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def shapes(model: ModelConfig, number: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a layer's weights, as `encore.model.gpt` has them."""
    width, inner, wide = (
        model.hidden_size,
        model.num_attention_heads * model.kv_channels,
        model.ffn_hidden_size,
    )
    if number == 1:
        return {
            WORDS: (model.padded_vocab_size, width),
            "position_embeddings.weight": (model.max_position_embeddings, width),
        }
    if number == 4 + model.num_layers:
        return {"weight": (width,), "bias": (width,)}
    matrices = {
        "self_attention.query_key_value": (3 * inner, width),
        "self_attention.dense": (width, inner),
        "mlp.dense_h_to_4h": (wide, width),
        "mlp.dense_4h_to_h": (width, wide),
    }
    norms = ("input_layernorm", "post_attention_layernorm")
    return (
        {f"{norm}.{kind}": (width,) for norm in norms for kind in ("weight", "bias")}
        | {f"{name}.weight": shape for name, shape in matrices.items()}
        | {f"{name}.bias": shape[:1] for name, shape in matrices.items()}
    )


class Layer(Mapping[str, Tensor]):
    """A layer whose weights are read one by one, when asked for, and not kept.

    `read(name, span)` gives a weight, or what lies in `span` along the axis that tensor-parallel ranks divide, then in
    storage of its own; it checks the whole's shape. `where` names the layer to the user. Raises CheckpointError unless
    the names are exactly a GPT's.
    """

    def __init__(
        self, read: Read, found: Iterable[str], needed: dict[str, tuple[int, ...]], where: str
    ) -> None:
        self._read = read
        self.shapes = needed
        there = set(found)
        problems = [f"lacks {name}" for name in self.shapes if name not in there]
        problems += [
            f"has {name}, which a GPT has not" for name in sorted(there - self.shapes.keys())
        ]
        if problems:
            raise CheckpointError(f"{where} {'; '.join(problems)}", _HINT)

    def __getitem__(self, name: str) -> Tensor:
        return self._read(name, None)

    def part(self, name: str, start: int, stop: int) -> Tensor:
        """From `start` to before `stop` along the divided axis, contiguous and in storage of its own."""
        return self._read(name, (start, stop))

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def check_shape(value: Tensor, needed: tuple[int, ...], where: str) -> None:
    """Raises CheckpointError where a weight is not of the shape that the arguments promise."""
    if tuple(value.shape) != needed:
        found, wanted = ("×".join(map(str, shape)) for shape in (value.shape, needed))
        raise CheckpointError(f"{where} is {found}, not {wanted}", "its arguments are not its own")


class LayerSource(Protocol):
    """A model that can be read layer by layer."""

    path: Path
    config: ModelConfig
    numbers: list[int]

    def layer(self, number: int) -> Layer:
        """The layer of that number."""


def in_current_order(name: str, value: Tensor, heads: int, version: float) -> Tensor:
    """The fused projection's rows as versions 2 and later have them, (head, q|k|v, channel), for one rank's heads.

    source: TurkuNLP 6732bc9 megatron/checkpointing.py, fix_query_key_value_ordering. Raises CheckpointError.
    """
    if version >= 2 or not name.endswith(("query_key_value.weight", "query_key_value.bias")):
        return value
    if version not in (0, 1):
        raise CheckpointError(
            f"checkpoint version {version} is not known", "known: 0, 1 and from 2 to 3"
        )
    rest = value.shape[1:]
    if version == 0:
        return value.reshape(3, heads, -1, *rest).transpose(0, 1).reshape(value.shape)
    return value.reshape(heads, -1, 3, *rest).transpose(1, 2).reshape(value.shape)


def share(layer: Layer, name: str, rank: int, ranks: int) -> Tensor:
    """A tensor-parallel rank's part of a weight, in storage of its own."""
    axis = tensor_parallel.split_axis(name)
    if axis is None:
        return layer[name].clone(memory_format=torch.contiguous_format)
    size = layer.shapes[name][axis] // ranks
    return layer.part(name, rank * size, (rank + 1) * size)


def check_degrees(model: ModelConfig, tensor: int, pipeline: int) -> None:
    """Raises UsageError where the model cannot be laid out over so many ranks."""
    for name, value in (
        ("heads", model.num_attention_heads),
        ("feed-forward size", model.ffn_hidden_size),
    ):
        if tensor < 1 or value % tensor:
            raise UsageError(
                f"--tp {tensor} does not divide the {name}, {value}", "choose a divisor of it"
            )
    if not 1 <= pipeline <= model.num_layers:
        raise UsageError(
            f"--pp {pipeline} does not fit {model.num_layers} layers",
            "each stage needs one at least",
        )


def padded_size(vocabulary: int, arguments: Mapping[str, Any], tensor: int) -> int:
    """The vocabulary as Megatron pads it for so many tensor-parallel ranks.

    source: TurkuNLP 6732bc9 megatron/tokenizer/tokenizer.py, _vocab_size_with_padding. Raises UsageError.
    """
    fixed = _size(arguments.get("pad_vocab_size_to"))
    if fixed is not None:
        if fixed < vocabulary or fixed % tensor:
            raise UsageError(
                f"--tp {tensor} does not divide pad_vocab_size_to {fixed}", "choose a divisor of it"
            )
        return fixed
    multiple = (_size(arguments.get("make_vocab_size_divisible_by")) or 128) * tensor
    return -(-vocabulary // multiple) * multiple


def words_share(layer: Layer, vocabulary: int, size: int, rank: int, ranks: int) -> Tensor:
    """A rank's rows of word embeddings padded to `size` rows: those there are, and for new padding the words' mean.

    Megatron's loss counts the padding's logits. A mean row's logit is the words' mean logit, so that by Jensen's
    inequality each weighs no more than the average word: rows of zeros would outweigh all words of GPT-2.
    """
    start, stop = rank * size // ranks, (rank + 1) * size // ranks
    there, width = layer.shapes[WORDS]
    if stop <= there:
        return layer.part(WORDS, start, stop)
    sums = [words.double().sum(0) for _, words in _slices(layer, 0, vocabulary)]
    rows = torch.empty(stop - start, width, dtype=layer.part(WORDS, 0, 1).dtype)
    rows[:] = sum(sums) / vocabulary
    for at, words in _slices(layer, start, there):
        rows[at - start : at - start + len(words)] = words
    return rows


def _slices(layer: Layer, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
    """Word embeddings a few at a time."""
    for at in range(start, stop, _SLICE_ROWS):
        yield at, layer.part(WORDS, at, min(at + _SLICE_ROWS, stop))
