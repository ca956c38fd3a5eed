"""Apptainer definition files: their header, %arguments and sections; and the architecture that an image file is for.

source: Apptainer 1.4 user guide, "Definition Files"; sylabs/sif, the header of a SIF file.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from encore import kit
from encore.errors import DataError, UnknownNameError
from encore.registry.images import load_images

FOLDER = kit.CONTAINERS

_SECTION = re.compile(r"^%([a-z]+)\b[^\n]*\n", re.MULTILINE)
# sif.h: after 32 bytes of launch script and 10 of magic, 3 of version, then the architecture
_SIF_MAGIC, _MAGIC_AT, _ARCHITECTURE_AT = b"SIF_MAGIC\0", 32, 45
_ARCHITECTURES = {
    "01": "386",
    "02": "amd64",
    "03": "arm",
    "04": "arm64",
    "05": "ppc64",
    "06": "ppc64le",
}


@dataclass(frozen=True)
class Definition:
    """A definition file, taken apart; sections hold their text without the `%name` line."""

    path: Path
    header: dict[str, str]
    sections: dict[str, str]

    @property
    def arguments(self) -> dict[str, str]:
        """What %arguments names, with the defaults."""
        lines = (line.strip() for line in self.sections.get("arguments", "").splitlines())
        pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
        return {name: value for name, _, value in pairs}


def of(image: str, folder: Path = FOLDER) -> Definition:
    """The definition of an image of registry/images.yml; raises UnknownNameError."""
    if image not in load_images():
        raise UnknownNameError("image", image, load_images())
    return read(folder / f"{image}.def")


def read(path: Path) -> Definition:
    """Take a definition file apart; raises DataError for a section that stands twice."""
    head, *rest = _SECTION.split(path.read_text(encoding="utf-8"))
    names = rest[::2]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: %{twice[0]} stands twice", "keep one of them")
    lines = (
        line.split(":", 1) for line in head.splitlines() if ":" in line and not line.startswith("#")
    )
    header = {key.strip().lower(): value.strip() for key, value in lines}
    return Definition(path, header, dict(zip(names, rest[1::2], strict=True)))


def architecture(image: Path) -> str:
    """The architecture of a SIF file, as Go names it (amd64, arm64); raises DataError when it is none."""
    with open(image, "rb") as file:
        head = file.read(_ARCHITECTURE_AT + 3)
    if head[_MAGIC_AT : _MAGIC_AT + len(_SIF_MAGIC)] != _SIF_MAGIC:
        raise DataError(f"{image} is not a container image (SIF)", "give the .sif file")
    code = head[_ARCHITECTURE_AT:].rstrip(b"\0").decode("ascii", "replace")
    return _ARCHITECTURES.get(code, f"architecture {code}")
