"""The values of --set: which defaults of a plan the user overrides, and with what."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)

T = TypeVar("T")
Value = bool | int | float | str


@dataclass(frozen=True)
class Overrides:
    """Keys with their typed values; an absent key leaves the choice to the plan.

    0 and False are values, not absence. encore.plan.settings knows the keys and parses them.
    """

    values: Mapping[str, Value] = field(default_factory=dict)

    def get(self, key: str, default: T) -> T:
        """The value of a key, else the default."""
        # parse() gave every value the type of its key
        return cast(T, self.values.get(key, default))

    def choices(self, key: str, defaults: Sequence[T]) -> Sequence[T]:
        """The values to try for a key: the user's alone where there is one."""
        if key in self.values:
            return [cast(T, self.values[key])]
        return defaults

    def apply(self, record: "Record") -> "Record":
        """The record with every overridden field replaced."""
        changes = {}
        for record_field in dataclasses.fields(record):
            if record_field.name in self.values:
                changes[record_field.name] = self.values[record_field.name]
        return dataclasses.replace(record, **changes)

    def as_assignments(self) -> list[str]:
        """The key=value texts that --set turns into these overrides."""
        return [f"{key}={value_text(value)}" for key, value in self.values.items()]


def value_text(value: Value) -> str:
    """A value as --set accepts it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
