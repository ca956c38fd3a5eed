"""What a user may override of a run: `--set lr=1.0e-4 global_batch_size=128`. Absent means: the registry decides."""

import dataclasses
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from encore.errors import UnknownNameError, UsageError


@dataclass(frozen=True)
class Settings:
    """Overrides; None leaves the choice to the plan."""

    # training
    train_samples: int | None = None
    sequence_length: int | None = None
    global_batch_size: int | None = None
    lr: float | None = None
    min_lr: float | None = None
    lr_decay_style: Literal["cosine", "linear", "constant"] | None = None
    warmup_fraction: float | None = None
    adam_beta1: float | None = None
    adam_beta2: float | None = None
    adam_eps: float | None = None
    weight_decay: float | None = None
    clip_grad: float | None = None
    dropout: float | None = None
    seed: int | None = None
    precision: Literal["bf16", "fp32"] | None = None
    log_interval: int | None = None
    eval_interval: int | None = None
    eval_iters: int | None = None
    save_interval: int | None = None
    # layout
    micro_batch_size: int | None = None
    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    activation_checkpointing: bool | None = None
    # site
    partition: str | None = None
    launch: Literal["tasks", "torchrun"] | None = None
    accelerator: str | None = None
    gpus_per_node: int | None = None
    cores_per_node: int | None = None
    image: str | None = None
    mfu: float | None = None
    large_scale: bool | None = None


def parse(assignments: Iterable[str]) -> Settings:
    """`key=value` texts as Settings; raises UsageError on a wrong form or value, a repeated or an unknown key."""
    hints = typing.get_type_hints(Settings)
    chosen: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(
                f"--set {assignment!r} has no value", "write key=value, as in --set lr=1.0e-4"
            )
        if key not in hints:
            raise UnknownNameError("setting", key, hints)
        if key in chosen:
            raise UsageError(f"--set {key} stands twice", "keep one of them")
        chosen[key] = _value(key, text, hints[key])
    return Settings(**chosen)


def _value(key: str, text: str, wanted: Any) -> Any:
    kind = next(a for a in typing.get_args(wanted) if a is not types.NoneType)
    if typing.get_origin(kind) is Literal:
        return _one_of(key, text, typing.get_args(kind))
    if kind is bool:
        return _one_of(key, text, ("true", "false")) == "true"
    if kind is str:
        return text
    try:
        value = kind(text.replace("_", ""))
    except ValueError:
        name = "whole number" if kind is int else "number"
        raise UsageError(f"--set {key}={text} is not a {name}", f"write {key}=N") from None
    least_excluded = key not in {
        "dropout",
        "weight_decay",
        "warmup_fraction",
        "seed",
        "min_lr",
        "clip_grad",
    }
    if not 0 <= value < float("inf") or (value == 0 and least_excluded):
        raise UsageError(f"--set {key}={text} is out of range", "it has to be positive and finite")
    return value


def _one_of(key: str, text: str, valid: tuple[str, ...]) -> str:
    if text not in valid:
        raise UsageError(f"--set {key}={text} is not valid", f"valid: {', '.join(valid)}")
    return text


def choose(override: Any, default: Any) -> Any:
    """The override unless it is absent; 0 and False are values."""
    return default if override is None else override


def as_assignments(settings: Settings) -> list[str]:
    """The `key=value` texts that give these settings."""
    pairs = dataclasses.asdict(settings).items()
    return [
        f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in pairs if v is not None
    ]
