"""Do two models compute the same? Their logits on one batch, by independent code for each format.

A Megatron-DeepSpeed checkpoint runs in the built-in trainer's model, a transformers folder in GPT2LMHeadModel.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from encore.checkpoints import gpt2_reader, megatron_reader, safetensors_shards
from encore.checkpoints.gpt2_reader import Gpt2Checkpoint
from encore.checkpoints.megatron_reader import MegatronCheckpoint
from encore.errors import CheckpointError
from encore.model.gpt import GPT

TOLERANCE = 1e-5  # of the largest logit, in fp32
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
        """The greatest difference in units of the largest logit; NaN and infinity where logits are no numbers."""
        return self.greatest / self.largest_logit if self.largest_logit else self.greatest

    @property
    def same(self) -> bool:
        """Whether they agree within the tolerance."""
        return math.isfinite(self.relative) and self.relative <= TOLERANCE


def difference(one: Path, other: Path, from_optimizer: bool = False) -> LogitDifference:
    """Compare two models on one sequence of random tokens over all positions, in fp32, one model in memory at a time.

    from_optimizer: whether `one` means the fp32 weights of its optimizer. Raises CheckpointError where the models are
    of another size.
    """
    a, b = _read(one, from_optimizer), _read(other)
    vocabulary = _common(a, b)
    positions = a.config.max_position_embeddings, b.config.max_position_embeddings
    if len(set(positions)) > 1:
        raise CheckpointError(
            f"{one} has {positions[0]} positions, {other} {positions[1]}", "compare equal models"
        )
    generator = torch.Generator().manual_seed(_SEED)
    tokens = torch.randint(0, vocabulary, (1, positions[0]), generator=generator)
    first = _logits(a, tokens)[..., :vocabulary]
    second = _logits(b, tokens)[..., :vocabulary]
    largest = max(first.abs().max().item(), second.abs().max().item())
    return LogitDifference((first - second).abs().max().item(), largest, tokens.numel(), vocabulary)


def _read(path: Path, from_optimizer: bool = False) -> Gpt2Checkpoint | MegatronCheckpoint:
    return (
        gpt2_reader.read(path)
        if gpt2_reader.is_folder(path)
        else megatron_reader.read(path, from_optimizer)
    )


def _common(a: Gpt2Checkpoint | MegatronCheckpoint, b: Gpt2Checkpoint | MegatronCheckpoint) -> int:
    """The vocabulary to compare on: the same without padding, or the one's is the other's with its padding."""
    padded = a.config.padded_vocab_size, b.config.padded_vocab_size
    sizes = a.vocabulary or padded[0], b.vocabulary or padded[1]
    if sizes[0] not in (sizes[1], padded[1]) and sizes[1] != padded[0]:
        raise CheckpointError(
            f"{a.path} has a vocabulary of {sizes[0]}, {b.path} of {sizes[1]}",
            "compare models of one tokenizer",
        )
    return min(sizes)


@torch.no_grad()
def _logits(model: Gpt2Checkpoint | MegatronCheckpoint, tokens: Tensor) -> Tensor:
    if isinstance(model, MegatronCheckpoint):
        return _megatron(model)(tokens)
    return _gpt2(model)(input_ids=tokens, use_cache=False).logits


def _megatron(step: MegatronCheckpoint) -> GPT:
    model = GPT.empty(step.config)
    for number, module in model.layer_modules().items():
        module.load_state_dict(dict(step.layer(number)))
    return model.float().eval()


def _gpt2(folder: Gpt2Checkpoint) -> torch.nn.Module:
    import transformers

    raw = safetensors_shards.read_json(folder.path / "config.json")
    config = transformers.GPT2Config(**raw | {"attn_implementation": "eager"})
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(config)
    model.to_empty(device="cpu")
    for name, parameter in model.transformer.named_parameters():
        parameter.data.copy_(folder.get[name]())
    model.tie_weights()
    return model.float().eval()
