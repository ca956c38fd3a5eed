"""What the forks import from apex and amp_C, built from torch's own operators.

source: the call sites in the forks (encore_compat.entries names them); apex's documentation.
"""

import importlib.util
from collections.abc import Callable
from typing import Any


def incomplete() -> bool:
    """Whether apex or its compiled half is missing."""
    return any(importlib.util.find_spec(name) is None for name in ("apex", "amp_C"))


def _optimizers() -> dict[str, object]:
    import torch

    def fused_adam(parameters: Any, **settings: Any) -> torch.optim.Optimizer:
        # AdamW itself, not a subclass: ZeRO accepts optimizers of known types only
        fused = torch.cuda.is_available() or None
        return torch.optim.AdamW(parameters, fused=fused, **settings)

    def fused_sgd(parameters: Any, **settings: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, **settings)

    return {"FusedAdam": fused_adam, "FusedSGD": fused_sgd}


def _multi_tensor_apply() -> dict[str, object]:
    def multi_tensor_applier(
        operator: Callable[..., Any], overflow: Any, tensors: list[Any], *arguments: Any
    ) -> Any:
        """Call `operator` on lists of tensors."""
        # the first argument is apex's chunk size, which the stand-ins ignore
        return operator(0, overflow, tensors, *arguments)

    return {"multi_tensor_applier": multi_tensor_applier}


def _amp_c() -> dict[str, object]:
    import torch

    def multi_tensor_l2norm(
        _: int, overflow: Any, tensors: list[Any], per_tensor: bool = False
    ) -> tuple[Any, Any]:
        """The L2 norm of the first list as a whole, shape [1], and if `per_tensor` of each."""
        norms = torch._foreach_norm([tensor.float() for tensor in tensors[0]])
        each = overflow.new_zeros(1, dtype=torch.float32)
        if norms:
            each = torch.stack(norms)
        whole = each.norm().view(1)
        return whole, each if per_tensor else None

    def multi_tensor_scale(_: int, overflow: Any, tensors: list[Any], scale: float) -> None:
        """Write the first list times `scale` to the second; set `overflow` to 1 for inf and NaN."""
        for source, target in zip(*tensors, strict=True):
            target.copy_(source * scale)
            overflow.logical_or_(~torch.isfinite(target).all())

    return {"multi_tensor_l2norm": multi_tensor_l2norm, "multi_tensor_scale": multi_tensor_scale}


def _layer_norm() -> dict[str, object]:
    import torch

    class FusedLayerNormAffineFunction:
        """apply(input, weight, bias, shape, eps[, memory_efficient]).

        The forks inspect the signature of `forward` to learn whether apex has memory_efficient.
        """

        @staticmethod
        def forward(
            _: Any,
            value: Any,
            weight: Any,
            bias: Any,
            shape: Any,
            eps: float,
            memory_efficient: bool = False,
        ) -> Any:
            return torch.nn.functional.layer_norm(value, shape, weight, bias, eps)

        @classmethod
        def apply(cls, *arguments: Any) -> Any:
            return cls.forward(None, *arguments)

    return {"FusedLayerNormAffineFunction": FusedLayerNormAffineFunction}


def _normalization() -> dict[str, object]:
    import torch

    class MixedFusedRMSNorm(torch.nn.RMSNorm):
        """RMSNorm under apex's name.

        sequence_parallel: marks the weight, whose gradient Megatron then all-reduces.
        """

        def __init__(
            self, shape: Any, eps: float = 1e-5, sequence_parallel: bool = False, **_: Any
        ) -> None:
            super().__init__(shape, eps=eps)
            self.weight.sequence_parallel = sequence_parallel  # type: ignore[attr-defined]

    return {"MixedFusedRMSNorm": MixedFusedRMSNorm}


MODULES: dict[str, Callable[[], dict[str, object]]] = {
    "apex": dict,
    "apex.optimizers": _optimizers,
    "apex.multi_tensor_apply": _multi_tensor_apply,
    "apex.normalization": _normalization,
    "apex.normalization.fused_layer_norm": _layer_norm,
    "amp_C": _amp_c,
}
