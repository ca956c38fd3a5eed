"""The language-model loss: the vocabulary projection and the cross-entropy in one, a run of tokens at a time.

The logits of a batch are its largest tensor by far (tokens × vocabulary, in fp32). Here a chunk of them is made,
turned into the loss and both gradients, and overwritten by the next chunk.
"""

from typing import Any

import torch
from torch import Tensor

_CHUNK_TOKENS = {"cpu": 1024, "cuda": 8192}


class ProjectedCrossEntropy(torch.autograd.Function):
    """Mean over tokens of −log softmax(hidden·weightᵀ)[label], computed in fp32 as Megatron does.

    source: TurkuNLP 6732bc9 megatron/model/gpt_model.py, CrossEntropy (every token counts)
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        """hidden (tokens, hidden_size), weight (vocabulary, hidden_size), labels (tokens,); returns a scalar."""
        tokens, chunk = len(hidden), min(len(hidden), _CHUNK_TOKENS[hidden.device.type])
        logits = hidden.new_empty(chunk, len(weight))
        wide = (
            logits
            if logits.dtype == torch.float32
            else torch.empty_like(logits, dtype=torch.float32)
        )
        total = wide.new_zeros(())
        if any(ctx.needs_input_grad):
            ctx.gradients = torch.empty_like(hidden), torch.zeros_like(weight, dtype=torch.float32)
            ctx.tokens = tokens
        for start in range(0, tokens, chunk):
            part, targets = hidden[start : start + chunk], labels[start : start + chunk, None]
            rows = slice(len(part))
            torch.mm(part, weight.t(), out=logits[rows])
            torch.log_softmax(logits[rows], -1, dtype=torch.float32, out=wide[rows])
            total -= wide[rows].gather(1, targets).sum()
            if any(ctx.needs_input_grad):
                wide[rows].exp_().scatter_add_(1, targets, wide.new_full(targets.shape, -1.0))
                d_hidden, d_weight = ctx.gradients
                d_logits = logits[rows].copy_(wide[rows])
                torch.mm(d_logits, weight, out=d_hidden[start : start + chunk])
                _add_product(d_weight, d_logits.t(), part)
        return total / tokens

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Both gradients were made in the forward pass and are scaled in place: backward runs once."""
        d_hidden, d_weight = ctx.gradients
        scale = gradient / ctx.tokens
        return d_hidden.mul_(scale), d_weight.mul_(scale), None


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Total += a·b, accumulating in total's precision."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b
