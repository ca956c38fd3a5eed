"""The language-model loss: vocabulary projection and cross-entropy in one, by chunks of tokens.

The logits of a batch are its largest tensor by far (tokens × vocabulary, in fp32). Here a chunk of
them is computed, turned into the loss and both gradients, and overwritten by the next chunk.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# large enough for full speed, small enough for memory (512 MiB at 128 Ki vocabulary on a CPU)
_CHUNK_TOKENS = {"cpu": 1024, "cuda": 8192}


def projected_cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """The mean loss of (tokens, hidden_size) under a (vocabulary, hidden_size) projection."""
    apply: Callable[..., Tensor] = ProjectedCrossEntropy.apply
    return apply(hidden, weight, labels)


class ProjectedCrossEntropy(torch.autograd.Function):
    """Mean over tokens of −log softmax(hidden·weightᵀ)[label], computed in fp32 as Megatron does.

    source: TurkuNLP 6732bc9 megatron/model/gpt_model.py, CrossEntropy (every token counts)
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """hidden (tokens, hidden_size), weight (vocabulary, hidden_size), labels (tokens,).

        Returns a scalar.
        """
        tokens = len(hidden)
        chunk = min(tokens, _CHUNK_TOKENS[hidden.device.type])
        logits = hidden.new_empty(chunk, len(weight))
        # log-probabilities, then their gradients: over the logits themselves where those are fp32
        wide = logits
        if logits.dtype != torch.float32:
            wide = torch.empty_like(logits, dtype=torch.float32)
        total = wide.new_zeros(())
        if any(ctx.needs_input_grad):
            ctx.gradients = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
            ctx.tokens = tokens
        for start in range(0, tokens, chunk):
            part = hidden[start : start + chunk]
            targets = labels[start : start + chunk, None]
            rows = slice(len(part))
            torch.mm(part, weight.t(), out=logits[rows])
            torch.log_softmax(logits[rows], -1, dtype=torch.float32, out=wide[rows])
            total -= wide[rows].gather(1, targets).sum()
            if any(ctx.needs_input_grad):
                # the gradient of the logits is softmax less one at the label
                wide[rows].exp_().scatter_add_(1, targets, wide.new_full(targets.shape, -1.0))
                d_hidden, d_weight = ctx.gradients
                d_logits = logits[rows].copy_(wide[rows])
                torch.mm(d_logits, weight, out=d_hidden[start : start + chunk])
                _add_product(d_weight, d_logits.t(), part)
        return total / tokens

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Scales, in place, the gradients of the forward pass; so it runs once."""
        d_hidden, d_weight = ctx.gradients
        scale = gradient / ctx.tokens
        return d_hidden.mul_(scale), d_weight.mul_(scale), None


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Total += a·b, accumulating in total's precision."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b
