"""Dropout and causal attention for CPUs, where torch has no fused kernel with dropout.

torch draws dropout masks on a CPU one float at a time and, with dropout, computes attention over the whole square
of scores. Here 16 random bits decide each element, and each block of queries meets only the keys up to its own end.
"""

import math
from typing import Any

import torch
from torch import Tensor

_QUERY_BLOCK = 64
_LEVELS = 1 << 16


def drop_mask(shape: torch.Size, probability: float) -> tuple[Tensor, float]:
    """A bool mask that is True where an element is dropped, and the factor that keeps the expectation.

    Random bits come from torch's default CPU generator. The probability is rounded to 1/65536 and the factor
    belongs to the rounded one.
    """
    count = math.prod(shape)
    dropped = round(probability * _LEVELS)
    bits = (
        torch.empty((count + 3) // 4, dtype=torch.int64)
        .random_(-(2**63), None)
        .view(torch.int16)[:count]
    )
    return (bits < dropped - _LEVELS // 2).view(shape), _LEVELS / (_LEVELS - dropped)


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
    """softmax(q·kᵀ/√channels, causal) with dropout, times v; each (batch·heads, sequence, channels)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, probability: float) -> Tensor:
        """Returns (batch·heads, sequence, channels); keeps the probabilities of each query block."""
        length, channels = q.shape[1:]
        ctx.blocks, output = [], torch.empty_like(v)
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
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for start, end, weights, drop in ctx.blocks:
            block = gradient[:, start:end]
            dropped = (weights * ctx.scale).masked_fill_(drop, 0.0)
            dv[:, :end].baddbmm_(dropped.transpose(1, 2), block)
            dweights = (
                torch.bmm(block, v[:, :end].transpose(1, 2), out=dropped)
                .mul_(ctx.scale)
                .masked_fill_(drop, 0.0)
            )
            dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype).mul_(
                q.shape[-1] ** -0.5
            )
            torch.bmm(dscores, k[:, :end], out=dq[:, start:end])
            dk[:, :end].baddbmm_(dscores.transpose(1, 2), q[:, start:end])
        return dq, dk, dv, None
