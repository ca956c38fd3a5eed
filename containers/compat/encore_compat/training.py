"""What DeepSpeed and torch.load have come to refuse."""

import argparse
import copy
import functools
from types import ModuleType
from typing import Any


def give_configuration_once() -> None:
    """deepspeed.initialize: a configuration that is given wins, and the same one's path in `args` is not shown to it."""
    import deepspeed

    initialize = deepspeed.initialize

    @functools.wraps(initialize)
    def once(args: Any = None, *others: Any, **given: Any) -> Any:
        if (given.get("config") or given.get("config_params")) and getattr(args, "deepspeed_config", None):
            args = copy.copy(args)
            args.deepspeed_config = None
        return initialize(args, *others, **given)

    deepspeed.initialize = once


def compression() -> dict[str, object]:
    """deepspeed.compression.compress: its two functions, which say that they are gone."""

    def gone(*_: Any, **__: Any) -> None:
        raise NotImplementedError("this DeepSpeed has no compression; train without --compression-training")

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
    """torch.load, which by default makes only tensors and plain values, makes argparse's Namespace too."""
    import torch

    torch.serialization.add_safe_globals([argparse.Namespace])
