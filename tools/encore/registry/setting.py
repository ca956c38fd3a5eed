"""What --set may change: a dataclass field whose metadata holds a Setting.

    lr: float = field(metadata=setting("peak learning rate", above=0))

makes `--set lr=…` exist; the field's type is the value's type. Everything else about the key (its
parsing, its line in `--set help`, its place in the plan's JSON) follows from the field.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

_METADATA_KEY = "encore.setting"


@dataclass(frozen=True)
class Setting:
    """A field that --set may change: description, unit, range of a number, origin of its default.

    origin may name {regime}, {cluster} and {accelerator}, which the plan fills in.
    """

    help: str
    unit: str
    origin: str
    above: float | None
    least: float | None
    below: float | None
    most: float | None

    def accepts(self, value: float) -> bool:
        """Whether a number is finite and within the range."""
        if not abs(value) < float("inf"):
            return False
        if self.above is not None and value <= self.above:
            return False
        if self.least is not None and value < self.least:
            return False
        if self.below is not None and value >= self.below:
            return False
        return self.most is None or value <= self.most

    @property
    def range(self) -> str:
        """The range as people write it, such as "≥ 0, < 1"; empty where there is none."""
        bounds = []
        if self.above is not None:
            bounds.append(f"> {self.above:g}")
        if self.least is not None:
            bounds.append(f"≥ {self.least:g}")
        if self.below is not None:
            bounds.append(f"< {self.below:g}")
        if self.most is not None:
            bounds.append(f"≤ {self.most:g}")
        return ", ".join(bounds)


def setting(
    help: str,
    *,
    unit: str = "",
    origin: str = "registry/training.yml, regime {regime}",
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> dict[str, Setting]:
    """The metadata of a field that --set may change; a number needs both ends of its range."""
    return {_METADATA_KEY: Setting(help, unit, origin, above, least, below, most)}


def settings_of(record: type[Any]) -> dict[str, Setting]:
    """The fields of a dataclass that --set may change, in their order."""
    settings = {}
    for field in dataclasses.fields(record):
        if _METADATA_KEY in field.metadata:
            settings[field.name] = field.metadata[_METADATA_KEY]
    return settings
