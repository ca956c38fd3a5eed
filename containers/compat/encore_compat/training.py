"""What today's DeepSpeed and torch.load refuse, made acceptable."""

import argparse
import copy
import functools
from types import ModuleType
from typing import Any


def give_configuration_once() -> None:
    """deepspeed.initialize: hide the path in `args` when the configuration itself is passed."""
    import deepspeed

    initialize = deepspeed.initialize

    @functools.wraps(initialize)
    def once(args: Any = None, *others: Any, **settings: Any) -> Any:
        is_passed = settings.get("config") or settings.get("config_params")
        if is_passed and getattr(args, "deepspeed_config", None):
            # a copy: the fork reads its own args.deepspeed_config later
            args = copy.copy(args)
            args.deepspeed_config = None
        return initialize(args, *others, **settings)

    deepspeed.initialize = once


def compression() -> dict[str, object]:
    """deepspeed.compression.compress: its two functions, which raise NotImplementedError."""

    def refuse(*_: Any, **__: Any) -> None:
        raise NotImplementedError(
            "this DeepSpeed has no compression; train without --compression-training"
        )

    return {"init_compression": refuse, "redundancy_clean": refuse}


def make_attention_inputs_contiguous(module: ModuleType) -> None:
    """megatron.model.transformer: make the inputs of CoreAttention, if there is one, contiguous."""
    attention = getattr(module, "CoreAttention", None)
    if attention is None:
        return
    forward = attention.forward

    def contiguous(self: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
        return forward(self, query.contiguous(), key.contiguous(), value.contiguous(), mask)

    attention.forward = contiguous


def allow_saved_types() -> None:
    """torch.load also restores a Namespace and NumPy's random state, as Megatron saves them."""
    import numpy
    import torch

    state = numpy.random.get_state(legacy=True)[1]
    rebuild = state.__reduce__()[0]  # its module's name differs between NumPy 1 and 2
    torch.serialization.add_safe_globals(
        [argparse.Namespace, rebuild, numpy.ndarray, numpy.dtype, type(numpy.dtype("uint32"))]
    )
