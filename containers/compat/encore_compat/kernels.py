"""The forks' fused kernels in terms of torch's operators, under the kernels' own names.

Slower than the compiled softmax, which makes one pass over memory where this makes three; the layer norm is torch's
fused one. Shapes: b batch, n heads, q and k sequence positions. source: the call sites in megatron/model/fused_*.py.
"""

from collections.abc import Callable
from typing import Any


def _layer_norm() -> dict[str, object]:
    import torch

    def forward_affine(
        value: Any, shape: Any, weight: Any, bias: Any, eps: float
    ) -> tuple[Any, Any, Any]:
        """Layer norm of `value` in the weight's type; with the mean and the inverse deviation, for backward."""
        return torch.native_layer_norm(value.to(weight.dtype), list(shape), weight, bias, eps)

    def backward_affine(
        gradient: Any,
        mean: Any,
        inverse: Any,
        value: Any,
        shape: Any,
        weight: Any,
        bias: Any,
        _: float,
    ) -> tuple[Any, Any, Any]:
        """The gradients of value, weight and bias."""
        known = value.to(weight.dtype)
        found = torch.ops.aten.native_layer_norm_backward(
            gradient, known, list(shape), mean, inverse, weight, bias, [True, True, True]
        )
        return found[0].to(value.dtype), found[1], found[2]

    return {"forward_affine": forward_affine, "backward_affine": backward_affine}


def _backward(gradient: Any, softmax: Any, scale: Any) -> Any:
    """The gradient of softmax(scale · x) for x."""
    weighted = gradient * softmax
    return float(scale) * (weighted - softmax * weighted.sum(-1, keepdim=True))


def _causal() -> dict[str, object]:
    import torch

    def forward(value: Any, scale: Any) -> Any:
        """Softmax of scale · x over the positions up to each row's own: [b·n, q, k] to the same."""
        later = torch.ones(value.shape[-2:], dtype=torch.bool, device=value.device).triu(1)
        return torch.softmax((value * float(scale)).masked_fill(later, float("-inf")), -1)

    return {"forward": forward, "backward": _backward}


def _masked() -> dict[str, object]:
    import torch

    def forward(value: Any, mask: Any, scale: Any) -> Any:
        """Softmax of scale · x, [b, n, q, k], where the mask, [b or 1, 1, q, k], is not set."""
        # as the kernel: a masked position gets -10000, so that a row without any other is not NaN
        return torch.softmax((value * float(scale)).masked_fill(mask.bool(), -10000.0), -1)

    # rows of the attention that one block takes; 1 divides every number of them
    return {"forward": forward, "backward": _backward, "get_batch_per_block": lambda *_: 1}


def _plain() -> dict[str, object]:
    import torch

    def forward(value: Any, scale: Any) -> Any:
        """Softmax of scale · x, [b, n, q, k]."""
        return torch.softmax(value * float(scale), -1)

    return {"forward": forward, "backward": _backward}


MODULES: dict[str, Callable[[], dict[str, object]]] = {
    "fused_mix_prec_layer_norm_cuda": _layer_norm,
    "scaled_upper_triang_masked_softmax_cuda": _causal,
    "scaled_masked_softmax_cuda": _masked,
    "scaled_softmax_cuda": _plain,
}
