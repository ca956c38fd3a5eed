"""Dropout and causal attention for CPUs, where torch has no fused kernel with dropout.

torch draws dropout masks on a CPU one float at a time and, with dropout, computes attention over
the whole square of scores. Here 16 random bits decide each element, and each block of queries
meets only the keys up to its own end.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_QUERY_BLOCK = 64
# values of the 16 random bits that decide an element
_LEVELS = 1 << 16


def causal_attention(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Attention with dropout; all (batch·heads, sequence, channels), on the CPU."""
    apply: Callable[..., Tensor] = CausalAttention.apply
    return apply(q, k, v, dropout)


def dropout_add(x: Tensor, residual: Tensor, dropout: float) -> Tensor:
    """residual + dropout(x), written over x; any equal shape, on the CPU."""
    apply: Callable[..., Tensor] = DropoutAdd.apply
    return apply(x, residual, dropout)


def drop_mask(shape: torch.Size, probability: float) -> tuple[Tensor, float]:
    """A bool mask, True where an element is dropped, and the factor that keeps the expectation.

    Random bits come from torch's default CPU generator. The probability is rounded to 1/65536 and
    the factor belongs to the rounded one.
    """
    count = math.prod(shape)
    drop_levels = round(probability * _LEVELS)
    # four elements to a draw of 64 bits
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[:count]
    # as int16 the bits begin at -32768
    mask = (bits < drop_levels - _LEVELS // 2).view(shape)
    return mask, _LEVELS / (_LEVELS - drop_levels)


class DropoutAdd(torch.autograd.Function):
    """residual + dropout(x), written over x, whose producer must not need it for its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor, probability: float) -> Tensor:
        """x, residual: any equal shape; returns x, now holding the sum."""
        ctx.drop, ctx.scale = drop_mask(x.shape, probability)
        ctx.mark_dirty(x)
        return torch.add(residual, x.masked_fill_(ctx.drop, 0.0), alpha=ctx.scale, out=x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradient of x is masked and scaled; the residual's is the incoming one."""
        return gradient.masked_fill(ctx.drop, 0.0).mul_(ctx.scale), gradient, None


class CausalAttention(torch.autograd.Function):
    """softmax(q·kᵀ/√channels, causal) with dropout, times v.

    All are (batch·heads, sequence, channels).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, probability: float) -> Tensor:
        """Returns (batch·heads, sequence, channels); saves the weights of each query block."""
        length, channels = q.shape[1:]
        output = torch.empty_like(v)
        ctx.blocks = []
        future = torch.full((_QUERY_BLOCK, _QUERY_BLOCK), -math.inf).triu_(1)
        for start in range(0, length, _QUERY_BLOCK):
            end = min(start + _QUERY_BLOCK, length)
            scores = torch.bmm(q[:, start:end], k[:, :end].transpose(1, 2)).mul_(channels**-0.5)
            scores[:, :, start:] += future[: end - start, : end - start]
            weights = torch.softmax(scores, -1)
            drop, scale = drop_mask(weights.shape, probability)
            dropped = torch.mul(weights, scale, out=scores).masked_fill_(drop, 0.0)
            torch.bmm(dropped, v[:, :end], out=output[:, start:end])
            ctx.blocks.append((start, end, weights, drop))
        ctx.scale = scale
        ctx.save_for_backward(q, k, v)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Gradients of q, k, v, block by block."""
        q, k, v = ctx.saved_tensors
        dq = torch.empty_like(q)
        dk = torch.zeros_like(k)
        dv = torch.zeros_like(v)
        root = q.shape[-1] ** -0.5
        for start, end, weights, drop in ctx.blocks:
            block = gradient[:, start:end]
            dropped = (weights * ctx.scale).masked_fill_(drop, 0.0)
            dv[:, :end].baddbmm_(dropped.transpose(1, 2), block)
            # `dropped` is no longer needed: the next product goes into its memory
            dweights = torch.bmm(block, v[:, :end].transpose(1, 2), out=dropped)
            dweights.mul_(ctx.scale).masked_fill_(drop, 0.0)
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
            dscores.mul_(root)
            torch.bmm(dscores, k[:, :end], out=dq[:, start:end])
            dk[:, :end].baddbmm_(dscores.transpose(1, 2), q[:, start:end])
        return dq, dk, dv, None
