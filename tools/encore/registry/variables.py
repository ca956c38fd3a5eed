"""registry/variables.yml: environment variables of jobs, and the values that each accepts."""

import datetime
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class AcceptedValues:
    """The words, or the whole numbers, that a variable accepts according to its documentation."""

    source: str
    checked: datetime.date
    words: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None

    def accept(self, value: str) -> bool:
        """Whether the documentation allows this value."""
        if self.words:
            return value in self.words
        if not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
            return False
        number = int(value)
        return (self.least or 0) <= number and (self.most is None or number <= self.most)

    def __str__(self) -> str:
        if self.words:
            return ", ".join(self.words)
        if self.most is None:
            return f"a whole number of {self.least} or more"
        return f"{self.least} to {self.most}"


@dataclass(frozen=True)
class Variable:
    """An environment variable of a job, and when it is set."""

    name: str
    value: str
    source: str
    when: Literal["always", "multi-node", "large-scale"] = "always"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.name):
            raise ValueError(f"{self.name!r} is not the name of an environment variable")
        # a rank's shell expands values such as $SLURM_PROCID; nothing that could run gets there
        if not re.fullmatch(r"[A-Za-z0-9_./:,=^@%+$ -]*", self.value):
            raise ValueError(f"{self.value!r} holds a character that no setting needs")
        accepted = load_variables().get(self.name)
        if accepted is not None and not accepted.accept(self.value):
            raise ValueError(
                f"{self.name}={self.value} is out of range: {accepted} ({accepted.source})"
            )


@dataclass(frozen=True)
class _Variables:
    variables: dict[str, AcceptedValues]


@functools.cache
def load_variables(folder: Path = FOLDER) -> dict[str, AcceptedValues]:
    """The variables with documented values, by name."""
    return strict_yaml.load(folder / "variables.yml", _Variables).variables
