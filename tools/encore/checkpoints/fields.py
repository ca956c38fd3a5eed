"""Fields of a checkpoint's arguments and counters, each checked where it enters. No torch here.

A file that was damaged, or made by somebody else, may say anything under any name. A field that is
absent or None is not stated; what is stated and cannot be is refused.
"""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from encore.errors import CheckpointError

_DAMAGED = "it is damaged; use another step"


@dataclass(frozen=True)
class Fields:
    """Values by name, of which each is asked for by its kind.

    where: what the user knows them by. All methods raise CheckpointError for another kind.
    """

    values: Mapping[str, Any]
    where: str

    def count(self, name: str, below: int, least: int = 0) -> int | None:
        """A whole number of at least `least` and less than `below`; None where it is not stated."""
        value = self.values.get(name)
        if value is None:
            return None
        # a bool is an int, too
        if type(value) is not int or not least <= value < below:
            raise self._refused(name)
        return value

    def size(self, name: str, below: int) -> int | None:
        """A number of things of which there is one at least; 0 stands for what is not stated."""
        if self.values.get(name) == 0 and type(self.values[name]) is int:
            return None
        return self.count(name, below, least=1)

    def number(self, name: str, below: float) -> float:
        """A finite number that is not negative."""
        value: Any = self.values.get(name)
        # NaN fails both comparisons
        if type(value) not in (int, float) or not 0 <= value < below:
            raise self._refused(name)
        return float(value)

    def switch(self, name: str) -> bool:
        """Whether something is on; False where it is not stated."""
        value = self.values.get(name)
        if value not in (None, True, False) or type(value) in (int, float):
            raise self._refused(name)
        return bool(value)

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Values by name; none where it is not stated."""
        value = self.values.get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self._refused(name)
        return value

    def _refused(self, name: str) -> CheckpointError:
        return CheckpointError(
            f"{self.where} states {name} {reprlib.repr(self.values.get(name))}", _DAMAGED
        )
