"""The registry's folder, and the types that several of its files share."""

import re
from dataclasses import dataclass
from typing import Literal

from encore import kit

FOLDER = kit.REGISTRY

Vendor = Literal["amd", "nvidia", "cpu"]
Objective = Literal["causal", "ul2"]


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
