"""What DeepSpeed and torch.load have come to refuse."""

import argparse
import copy
import functools
from types import ModuleType
from typing import Any


def give_configuration_once() -> None:
    """deepspeed.initialize: the path in `args` is not shown to it when the configuration itself is given."""
    import deepspeed

    initialize = deepspeed.initialize

    @functools.wraps(initialize)
    def once(args: Any = None, *others: Any, **given: Any) -> Any:
        if (given.get("config") or given.get("config_params")) and getattr(
            args, "deepspeed_config", None
        ):
            args = copy.copy(args)
            args.deepspeed_config = None
        return initialize(args, *others, **given)

    deepspeed.initialize = once


def compression() -> dict[str, object]:
    """deepspeed.compression.compress: its two functions, which say that they are gone."""

    def gone(*_: Any, **__: Any) -> None:
        raise NotImplementedError(
            "this DeepSpeed has no compression; train without --compression-training"
        )

    return {"init_compression": gone, "redundancy_clean": gone}


def make_attention_inputs_contiguous(module: ModuleType) -> None:
    """megatron.model.transformer: CoreAttention, where there is one, gets query, key and value in one piece each."""
    attention = getattr(module, "CoreAttention", None)
    if attention is None:
        return
    forward = attention.forward

    def contiguous(self: Any, query: Any, key: Any, value: Any, mask: Any) -> Any:
        return forward(self, query.contiguous(), key.contiguous(), value.contiguous(), mask)

    attention.forward = contiguous


def allow_saved_types() -> None:
    """torch.load makes a Namespace and numpy's random state too, which Megatron's own checkpoints hold."""
    import numpy
    import torch

    state = numpy.random.get_state(legacy=True)[1]
    rebuild = state.__reduce__()[0]  # its module's name differs between NumPy 1 and 2
    torch.serialization.add_safe_globals(
        [argparse.Namespace, rebuild, numpy.ndarray, numpy.dtype, type(numpy.dtype("uint32"))]
    )
