"""Apptainer definition files: header, %arguments and the other sections.

source: Apptainer 1.4 user guide, "Definition Files".
"""

import re
from dataclasses import dataclass
from pathlib import Path

from encore import kit
from encore.errors import DataError, UnknownNameError
from encore.registry.images import load_images

_SECTION = re.compile(r"^%([a-z]+)\b[^\n]*\n", re.MULTILINE)


@dataclass(frozen=True)
class Definition:
    """A definition file by its parts; a section's text is without its `%name` line."""

    path: Path
    header: dict[str, str]
    sections: dict[str, str]

    @property
    def arguments(self) -> dict[str, str]:
        """The build arguments with their defaults."""
        defaults = {}
        for line in self.sections.get("arguments", "").splitlines():
            line = line.strip()
            if line and not line.startswith("#"):
                name, _, value = line.partition("=")
                defaults[name] = value
        return defaults


def load_definition(image: str) -> Definition:
    """The definition of an image of registry/images.yml; raises UnknownNameError."""
    if image not in load_images():
        raise UnknownNameError("image", image, load_images())
    return read_definition(kit.CONTAINERS / f"{image}.def")


def read_definition(path: Path) -> Definition:
    """Parse a definition file; raises DataError for a section that occurs twice."""
    # split() with one group alternates: header, name, text, name, text
    head, *parts = _SECTION.split(path.read_text(encoding="utf-8"))
    sections: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if name in sections:
            raise DataError(f"{path}: %{name} occurs twice", "merge the two sections")
        sections[name] = text
    header = {}
    for line in head.splitlines():
        if ":" in line and not line.startswith("#"):
            key, value = line.split(":", 1)
            header[key.strip().lower()] = value.strip()
    return Definition(path, header, sections)
