"""The forks' fused kernels built from torch's operators, under the kernels' own names.

The softmax is slower than the compiled one, which passes over memory once where this does three
times; the layer norm is torch's fused one. Shapes: b batch, n heads, q and k sequence positions.
source: the call sites in megatron/model/fused_*.py.
"""

from collections.abc import Callable
from typing import Any


def _layer_norm() -> dict[str, object]:
    import torch

    def forward_affine(
        value: Any, shape: Any, weight: Any, bias: Any, eps: float
    ) -> tuple[Any, Any, Any]:
        """Layer norm of `value` in the weight's type, mean and inverse deviation for backward."""
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
        value_gradient, weight_gradient, bias_gradient = torch.ops.aten.native_layer_norm_backward(
            gradient,
            value.to(weight.dtype),
            list(shape),
            mean,
            inverse,
            weight,
            bias,
            [True, True, True],
        )
        return value_gradient.to(value.dtype), weight_gradient, bias_gradient

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

    # the fork uses the kernel where this divides its rows or batches of attention, as 1 does
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
