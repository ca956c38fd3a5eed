"""What the forks take from apex and amp_C, in terms of torch's own operators.

source: the call sites in the forks (see encore_compat.entries) and apex's documentation of the operators' meaning.
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
        # AdamW itself, not a subclass: ZeRO takes optimizers of known types only
        return torch.optim.AdamW(parameters, fused=torch.cuda.is_available() or None, **settings)

    def fused_sgd(parameters: Any, **settings: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, **settings)

    return {"FusedAdam": fused_adam, "FusedSGD": fused_sgd}


def _multi_tensor_apply() -> dict[str, object]:
    def multi_tensor_applier(
        operator: Callable[..., Any], overflow: Any, tensors: list[Any], *arguments: Any
    ) -> Any:
        """Call `operator` over lists of tensors; the chunk size, its first argument, means nothing here."""
        return operator(0, overflow, tensors, *arguments)

    return {"multi_tensor_applier": multi_tensor_applier}


def _amp_c() -> dict[str, object]:
    import torch

    def multi_tensor_l2norm(
        _: int, overflow: Any, tensors: list[Any], per_tensor: bool = False
    ) -> tuple[Any, Any]:
        """The L2 norm of all tensors of the first list together, shape [1], and of each if asked for."""
        norms = torch._foreach_norm([tensor.float() for tensor in tensors[0]])
        each = torch.stack(norms) if norms else overflow.new_zeros(1, dtype=torch.float32)
        return each.norm().view(1), each if per_tensor else None

    def multi_tensor_scale(_: int, overflow: Any, tensors: list[Any], scale: float) -> None:
        """Write the first list times `scale` to the second; `overflow` becomes 1 where that is not finite."""
        for source, target in zip(*tensors, strict=True):
            target.copy_(source * scale)
            overflow.logical_or_(~torch.isfinite(target).all())

    return {"multi_tensor_l2norm": multi_tensor_l2norm, "multi_tensor_scale": multi_tensor_scale}


def _layer_norm() -> dict[str, object]:
    import torch

    class FusedLayerNormAffineFunction:
        """apply(input, weight, bias, shape, eps[, memory_efficient]); `forward` is looked at for its arguments."""

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
        """RMSNorm under apex's name; the sequence-parallel flag marks the weight for the gradients' all-reduce."""

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
