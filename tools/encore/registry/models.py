"""registry/models.yml: model shapes, and the parameter labels of run names."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class ModelShape:
    """A model's dimensions; heads × kv_size may differ from d_model (Megatron's --kv-channels)."""

    name: str
    layers: int
    d_model: int
    ffw_size: int
    kv_size: int
    heads: int
    regime: Literal["paper", "laptop"] = "paper"


@dataclass(frozen=True)
class Label:
    """A parameter label of run names.

    parameters: the count that the paper states its results with; the shape's own may differ.
    """

    name: str
    shape: str
    parameters: int
    note: str = ""


@dataclass(frozen=True)
class Models:
    """All shapes ('140M') and labels ('146m')."""

    source: str
    checked: datetime.date
    shapes: dict[str, ModelShape]
    labels: dict[str, Label]

    def __post_init__(self) -> None:
        # else a run name with that label would fail, and only when somebody uses it
        for label in self.labels.values():
            if label.shape not in self.shapes:
                raise ValueError(f"label {label.name} names the unknown shape {label.shape!r}")


@functools.cache
def load_models(folder: Path = FOLDER) -> Models:
    """models.yml."""
    return strict_yaml.load(folder / "models.yml", Models)
