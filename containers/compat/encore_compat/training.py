"""What DeepSpeed and torch.load have come to refuse."""

import argparse
import copy
import functools
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


def allow_saved_types() -> None:
    """torch.load, which by default makes only tensors and plain values, makes argparse's Namespace too."""
    import torch

    torch.serialization.add_safe_globals([argparse.Namespace])
