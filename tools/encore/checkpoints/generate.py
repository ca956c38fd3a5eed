"""Text from a checkpoint: token by token, each drawn from what the model expects next."""

from dataclasses import dataclass
from pathlib import Path

import torch

from encore.checkpoints import megatron_reader
from encore.errors import DataError, UsageError
from encore.model.gpt import GPT
from encore.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sampling:
    """How to draw `tokens` tokens at most.

    temperature: 0 picks the likeliest token; otherwise one is drawn from the `top_k` likeliest.
    """

    tokens: int = 100
    temperature: float = 0.8
    top_k: int = 50
    seed: int = 1234


def load(path: Path) -> GPT:
    """The model of a step folder, or of the newest complete one below it, in fp32.

    Raises CheckpointError.
    """
    checkpoint = megatron_reader.read(path)
    model = GPT.empty(checkpoint.config)
    model.fill(checkpoint.weights())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device).eval()


def text(
    model: GPT, tokenizer: Tokenizer, prompt: str, sampling: Sampling
) -> tuple[str, list[int]]:
    """The continuation of a prompt, up to the end of the document, and its token ids.

    The seed decides the text. An empty prompt begins a document. Raises DataError where the
    tokenizer is not the model's, UsageError where it cannot begin a document.
    """
    size = tokenizer.vocabulary_size
    if size > model.config.padded_vocab_size:
        raise DataError(
            f"tokenizer {tokenizer.name} has {size} entries,"
            f" the model {model.config.padded_vocab_size}",
            "give the tokenizer that the model was trained with",
        )
    if prompt:
        start = tokenizer.backend.encode(prompt).ids
    elif tokenizer.eod is not None:
        start = [tokenizer.eod]
    else:
        raise UsageError(
            f"tokenizer {tokenizer.name} has no end-of-document token to begin with",
            "add --prompt TEXT",
        )
    continuation = _continue(model, start, tokenizer, sampling)
    return tokenizer.backend.decode(continuation), continuation


@torch.no_grad()
def _continue(model: GPT, start: list[int], tokenizer: Tokenizer, sampling: Sampling) -> list[int]:
    """The tokens after `start`; the model sees as many of the last ones as it has positions."""
    device = model.final_layernorm.weight.device
    generator = torch.Generator().manual_seed(sampling.seed)
    tokens = list(start)
    for _ in range(sampling.tokens):
        window = torch.tensor([tokens[-model.config.max_position_embeddings :]], device=device)
        # the padding has logits, too, which nothing trained
        logits = model(window)[0, -1, : tokenizer.vocabulary_size].float().cpu()
        token = _draw(logits, sampling, generator)
        if token == tokenizer.eod:
            break
        tokens.append(token)
    return tokens[len(start) :]


def _draw(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """logits (vocabulary) → a token id."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    # drawn on the CPU, so that a seed gives the same text on every machine
    likeliest = logits.topk(min(sampling.top_k, len(logits)))
    probabilities = (likeliest.values / sampling.temperature).softmax(-1)
    choice = torch.multinomial(probabilities, 1, generator=generator)
    return int(likeliest.indices[choice])
