"""The learning rate as a function of the samples seen: linear warm-up, then decay to a minimum.

source: TurkuNLP 6732bc9 megatron/learning_rates.py (AnnealingLR)
"""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from encore.errors import CheckpointError

DECAY_STYLES = ("constant", "linear", "cosine", "inverse_sqrt")


@dataclass(frozen=True)
class Schedule:
    """The rate's limits and form; all counts are samples.

    A step uses the rate of the samples seen before it, so the first step of a warm-up has rate 0.
    """

    max_lr: float
    min_lr: float
    warmup_steps: float
    decay_steps: int
    decay_style: str
    warmup_style: str = "linear"

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Schedule":
        """From Megatron's arguments."""
        return cls(
            max_lr=arguments["lr"],
            min_lr=arguments["min_lr"],
            warmup_steps=arguments["lr_warmup_samples"],
            decay_steps=arguments["lr_decay_samples"],
            decay_style=arguments["lr_decay_style"],
            warmup_style=arguments["lr_warmup_style"],
        )

    def rate(self, samples: int) -> float:
        """The learning rate after this many samples."""
        if samples <= self.warmup_steps and self.warmup_steps > 0:
            if self.warmup_style == "constant":
                return self.max_lr
            return self.max_lr * samples / self.warmup_steps
        if self.decay_style == "constant":
            return self.max_lr
        if self.decay_style == "inverse_sqrt":
            # Megatron lets this style fall below min_lr
            return self.max_lr * math.sqrt(max(self.warmup_steps, 1) / max(samples, 1))
        if samples > self.decay_steps:
            return self.min_lr
        progress = (samples - self.warmup_steps) / (self.decay_steps - self.warmup_steps)
        if self.decay_style == "linear":
            factor = 1.0 - progress
        else:
            factor = 0.5 * (math.cos(math.pi * progress) + 1.0)
        return self.min_lr + factor * (self.max_lr - self.min_lr)

    def state(self, samples: int, tokens: int) -> dict[str, Any]:
        """The entry of a checkpoint, under Megatron's keys."""
        counters = {"num_steps": samples, "num_tokens": tokens, "warmup_tokens": 0}
        return self._saved_fields() | counters

    def reconciled(
        self, state: Mapping[str, Any], override: bool, use_checkpoint: bool
    ) -> "Schedule":
        """The schedule to resume with, given a checkpoint's.

        Raises CheckpointError where the saved one differs and neither is preferred.
        """
        own = self._saved_fields()
        if override:
            return self
        saved: dict[str, Any] = {key: state.get(key) for key in own}
        for key, value in saved.items():
            valid = type(value) in (int, float)
            if key == "decay_style":
                valid = value in DECAY_STYLES
            if not valid:
                raise CheckpointError(
                    f"the checkpoint's learning-rate schedule states {key} {reprlib.repr(value)}",
                    "add --override-lr-scheduler, or use another step",
                )
        if saved == own:
            return self
        if use_checkpoint:
            return Schedule(**saved, warmup_style=self.warmup_style)
        changes = ", ".join(
            f"{key} {saved[key]} (now {own[key]})" for key in own if saved[key] != own[key]
        )
        raise CheckpointError(
            f"the checkpoint's learning-rate schedule differs: {changes}",
            "add --override-lr-scheduler or --use-checkpoint-lr-scheduler, or repeat its values",
        )

    def _saved_fields(self) -> dict[str, Any]:
        """What Megatron saves of a schedule: all but the style of the warm-up."""
        values = asdict(self)
        del values["warmup_style"]
        return values
