"""Do two models compute the same? Their logits on one batch, by independent code for each format.

A Megatron-DeepSpeed checkpoint runs in the built-in trainer's model, a transformers folder in
transformers' own GPT2LMHeadModel.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encore.checkpoints import gpt2_reader, megatron_reader, safetensors_shards
from encore.checkpoints.gpt2_reader import Gpt2Checkpoint
from encore.checkpoints.megatron_reader import MegatronCheckpoint
from encore.errors import CheckpointError
from encore.model.gpt import GPT

# of the largest logit, in fp32
TOLERANCE = 1e-5
_SEED = 1234


@dataclass(frozen=True)
class LogitDifference:
    """How far two models are apart on `tokens` positions of `vocabulary` logits each."""

    greatest: float
    largest_logit: float
    tokens: int
    vocabulary: int

    @property
    def relative(self) -> float:
        """The greatest difference in units of the largest logit; NaN where a logit is no number."""
        if self.largest_logit == 0:
            return self.greatest
        return self.greatest / self.largest_logit

    @property
    def same(self) -> bool:
        """Whether they agree within the tolerance."""
        return math.isfinite(self.relative) and self.relative <= TOLERANCE


def difference(one: Path, other: Path, from_optimizer: bool = False) -> LogitDifference:
    """Compare two models on one sequence of random tokens over all positions, in fp32.

    One model is in memory at a time. from_optimizer: whether to compare the fp32 weights of the
    optimizer of `one`. Raises CheckpointError where the models have different sizes.
    """
    first = _read(one, from_optimizer)
    second = _read(other)
    vocabulary = _common_vocabulary(first, second)
    positions = first.config.max_position_embeddings
    if second.config.max_position_embeddings != positions:
        raise CheckpointError(
            f"{one} has {positions} positions, {other} {second.config.max_position_embeddings}",
            "give two checkpoints of one model",
        )
    # ids from the vocabulary alone: one side may have no rows for the padding
    generator = torch.Generator().manual_seed(_SEED)
    tokens = torch.randint(0, vocabulary, (1, positions), generator=generator)
    first_logits = _logits(first, tokens)[..., :vocabulary]
    second_logits = _logits(second, tokens)[..., :vocabulary]
    return LogitDifference(
        greatest=(first_logits - second_logits).abs().max().item(),
        largest_logit=max(first_logits.abs().max().item(), second_logits.abs().max().item()),
        tokens=tokens.numel(),
        vocabulary=vocabulary,
    )


def _read(path: Path, from_optimizer: bool = False) -> Gpt2Checkpoint | MegatronCheckpoint:
    if gpt2_reader.is_folder(path):
        return gpt2_reader.read(path)
    return megatron_reader.read(path, from_optimizer)


def _common_vocabulary(
    first: Gpt2Checkpoint | MegatronCheckpoint, second: Gpt2Checkpoint | MegatronCheckpoint
) -> int:
    """The entries to compare. The sizes without padding are equal, or one is the other's padded."""
    padded = (first.config.padded_vocab_size, second.config.padded_vocab_size)
    sizes = (first.vocabulary or padded[0], second.vocabulary or padded[1])
    if sizes[0] not in (sizes[1], padded[1]) and sizes[1] != padded[0]:
        raise CheckpointError(
            f"{first.path} has a vocabulary of {sizes[0]}, {second.path} of {sizes[1]}",
            "give two checkpoints of one model",
        )
    return min(sizes)


@torch.no_grad()
def _logits(checkpoint: Gpt2Checkpoint | MegatronCheckpoint, tokens: Tensor) -> Tensor:
    """(batch, sequence, padded vocabulary) of a model that is let go afterwards."""
    logits: Tensor
    if isinstance(checkpoint, MegatronCheckpoint):
        logits = _built_in_model(checkpoint)(tokens)
    else:
        logits = _transformers_model(checkpoint)(input_ids=tokens, use_cache=False).logits
    return logits


def _built_in_model(checkpoint: MegatronCheckpoint) -> GPT:
    model = GPT.empty(checkpoint.config)
    model.fill(checkpoint.weights())
    return model.to(torch.float32).eval()


def _transformers_model(checkpoint: Gpt2Checkpoint) -> Any:
    import transformers

    raw = safetensors_shards.read_json(checkpoint.path / "config.json")
    raw = {key: raw[key] for key in gpt2_reader.MODEL_KEYS if key in raw}
    # "eager" is the plain implementation, without fused kernels of lower precision
    config = transformers.GPT2Config(**raw | {"attn_implementation": "eager"})
    with torch.device("meta"):
        model: Any = transformers.GPT2LMHeadModel(config)
    model.to_empty(device="cpu")
    _fill_buffers(model)
    for name, parameter in model.transformer.named_parameters():
        parameter.data.copy_(checkpoint.read_weight[name]())
    model.tie_weights()
    return model.to(torch.float32).eval()


def _fill_buffers(model: Any) -> None:
    """Give the blocks their buffers: transformers 4 has causal masks in them, 5 has none.

    to_empty leaves them without values, and no checkpoint stores them. All blocks have the same.
    """
    blocks = model.transformer.h
    values = dict(type(blocks[0])(model.config, layer_idx=0).named_buffers())
    for block in blocks:
        for name, buffer in block.named_buffers():
            buffer.copy_(values[name])
