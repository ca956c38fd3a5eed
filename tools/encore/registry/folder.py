"""The registry's folder, and the types that several of its files share."""

from typing import Literal

from encore import kit

FOLDER = kit.REGISTRY

Vendor = Literal["amd", "nvidia", "cpu"]
Objective = Literal["causal", "ul2"]
