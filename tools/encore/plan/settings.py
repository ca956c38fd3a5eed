"""The keys of --set: what they are, what they accept, and what they are in a plan.

The keys are the fields of five records that carry setting metadata (encore.registry.setting), so a
new field is a new key. Most values of a plan are in these records and nowhere else.
"""

import types
import typing
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from encore import human
from encore.errors import UnknownNameError, UsageError, shortened
from encore.plan.overrides import Overrides, Value, value_text
from encore.plan.records import ClusterUse, Plan, Request, Training
from encore.plan.sizing import Layout
from encore.registry.accelerators import load_accelerators
from encore.registry.images import load_images
from encore.registry.regimes import Cadence, Optimizer
from encore.registry.setting import Setting, settings_of

HELP = "help"


@dataclass(frozen=True)
class SettingKey:
    """A key of --set: the record whose field it is, the type of its value, the words it accepts."""

    name: str
    record: type
    kind: type
    words: tuple[str, ...]
    setting: Setting


@dataclass(frozen=True)
class SettingRow:
    """A line of `--set help`; value None: the run has none, such as a partition without Slurm."""

    key: str
    value: Value | None
    unit: str
    allowed: str
    origin: str
    description: str


def _keys() -> dict[str, SettingKey]:
    keys = {}
    for record in (Training, Optimizer, Cadence, Layout, ClusterUse):
        hints = typing.get_type_hints(record)
        for name, setting in settings_of(record).items():
            kind, words = _kind(hints[name])
            keys[name] = SettingKey(name, record, kind, words, setting)
    return keys


def _kind(hint: Any) -> tuple[type, tuple[str, ...]]:
    """The type and the words of a field: `Literal["a", "b"]` is str with these two."""
    if typing.get_origin(hint) is Literal:
        return str, typing.get_args(hint)
    # `str | None` is a key without a default on some clusters; the user can only set it to a str
    for alternative in typing.get_args(hint):
        if alternative is not types.NoneType:
            return alternative, ()
    if hint is bool:
        return bool, ("true", "false")
    return hint, ()


KEYS = _keys()
_LIST_SETTINGS = "tools/render_sbatch.py RUN --set help"


def parse(assignments: Iterable[str]) -> Overrides:
    """Overrides from key=value texts.

    Raises UsageError for a text without a value, a value that the key does not accept and a key
    that is repeated; UnknownNameError for an unknown key.
    """
    values: dict[str, Value] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if assignment == HELP:
            raise UsageError(
                "--set help is an option of tools/render_sbatch.py",
                f"list the keys with {_LIST_SETTINGS}",
            )
        if not equals:
            raise UsageError(
                f"--set {shortened(assignment)!r} has no value",
                "write KEY=VALUE, for example lr=1.0e-4",
            )
        if key not in KEYS:
            raise UnknownNameError("setting", key, KEYS, _LIST_SETTINGS)
        if key in values:
            raise UsageError(f"--set {key} is given twice", "keep one of the two")
        values[key] = _parse_value(KEYS[key], text)
    # in the order of the keys, so that equal overrides make equal command lines
    return Overrides({key: values[key] for key in KEYS if key in values})


def _parse_value(key: SettingKey, text: str) -> Value:
    # as Python writes it, so that a line break does not break the message
    assignment = repr(f"{key.name}={shortened(text)}")
    if key.words and text not in key.words:
        raise UsageError(f"--set {assignment} is not valid", f"valid: {', '.join(key.words)}")
    if key.kind is bool:
        return text == "true"
    if key.kind is str:
        return text
    # underscores are for reading: 1_024
    noun = "whole number" if key.kind is int else "number"
    try:
        # int() and float() take the digits of any script
        text.encode("ascii")
        value: int | float = key.kind(text.replace("_", ""))
    except ValueError:
        raise UsageError(
            f"--set {assignment} is not a {noun}", f"{key.name} accepts {key.setting.range}"
        ) from None
    if not key.setting.accepts(value):
        raise UsageError(
            f"--set {assignment} is out of range", f"{key.name} accepts {key.setting.range}"
        )
    return value


def rows(plan: Plan, request: Request) -> list[SettingRow]:
    """Every key with its value in a plan and where that value comes from."""
    records = {
        type(record): record
        for record in (plan.training, plan.optimizer, plan.cadence, plan.layout, plan.cluster_use)
    }
    result = []
    for key in KEYS.values():
        row = SettingRow(
            key=key.name,
            value=getattr(records[key.record], key.name),
            unit=key.setting.unit,
            allowed=_allowed(key, plan),
            origin=_origin(key, plan, request),
            description=key.setting.help,
        )
        result.append(row)
    return result


def as_table(plan: Plan, request: Request) -> str:
    """`rows` as aligned lines."""
    lines = []
    for row in rows(plan, request):
        value = "-" if row.value is None else value_text(row.value)
        lines.append((row.key, value, row.unit, row.allowed, row.origin, row.description))
    return human.table(lines, ("KEY", "VALUE", "UNIT", "ALLOWED", "VALUE FROM", "MEANING"))


def _allowed(key: SettingKey, plan: Plan) -> str:
    names: dict[str, Collection[str]] = {
        "accelerator": load_accelerators(),
        "image": load_images(),
        "partition": plan.cluster.partitions or {},
        "qos": plan.cluster.qos_limits or {},
    }
    words = key.words or tuple(sorted(names.get(key.name, ())))
    if words:
        return ", ".join(words)
    if key.kind is str:
        return "any name"
    noun = "whole number" if key.kind is int else "number"
    return f"{noun} {key.setting.range}"


def _origin(key: SettingKey, plan: Plan, request: Request) -> str:
    if key.name in request.settings.values:
        return "--set"
    if request.as_released and key.name in ("global_batch_size", "train_samples"):
        return "--as-released"
    if key.name == "seed" and "seed" in plan.name:
        return "the suffix of the run's name"
    return key.setting.origin.format(
        regime=plan.shape.regime,
        cluster=plan.cluster_name,
        accelerator=plan.cluster_use.accelerator,
    )
