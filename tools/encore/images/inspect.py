"""What an image is made of: its labels, its record, the main software in it, and whether the registry names it."""

import dataclasses
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.errors import DataError
from encore.images import build
from encore.images import record as images

_SHOWN = ("torch", "deepspeed", "transformers", "lm-eval", "numpy")
_SOFTWARE = "/opt/encore/software.cdx.json"


@dataclass(frozen=True)
class Inspection:
    """An image's identity, labels and software; record None where none lies beside it."""

    image: Path
    identity: images.Identity
    record: images.BuildRecord | None
    labels: dict[str, str]
    software: list[dict[str, Any]]

    def rows(self) -> list[tuple[str, str]]:
        """For people: names and values."""
        versions = {part["name"]: part["version"] for part in self.software}
        rows = [
            ("image", str(self.image)),
            ("kind", self.identity.name),
            ("digest", self.identity.digest),
        ]
        rows += [
            (name.removeprefix("org.opencontainers.image."), value)
            for name, value in sorted(self.labels.items())
            if name.startswith("org.opencontainers.image.")
        ]
        if self.record:
            rows += [("built", f"{self.record.built} with {self.record.runtime}")]
        rows += [(name, versions[name]) for name in _SHOWN if name in versions]
        rows += [
            (part["name"], part["version"])
            for part in self.software
            if part["purl"].startswith("pkg:github/")
        ]
        return [*rows, ("components", str(len(self.software))), ("registry", self.identity.reason)]

    def as_json(self) -> dict[str, Any]:
        """For scripts: everything."""
        return {
            "image": str(self.image),
            "identity": dataclasses.asdict(self.identity),
            "record": dataclasses.asdict(self.record) if self.record else None,
            "labels": self.labels,
            "software": self.software,
        }


def inspect(image: Path, runtime: str = "auto") -> Inspection:
    """Look into an image; raises DataError where it cannot be read, EncoreError where there is no runtime."""
    if not image.is_file():
        raise DataError(f"{image} is not there", "give a .sif file; tools/build_image.py makes one")
    identity = images.identify(image)
    program = build.runtime(runtime)
    software = _ask([program, "exec", str(image), "cat", _SOFTWARE], image)
    return Inspection(
        image, identity, images.read_record(image), _labels(program, image), software["components"]
    )


def _labels(program: str, image: Path) -> dict[str, str]:
    found = _ask([program, "inspect", "--json", "--labels", str(image)], image)
    return dict(found["data"]["attributes"]["labels"])


def _ask(command: list[str], image: Path) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        why = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise DataError(
            f"{image} cannot be read: {why}",
            "is it an image of this kit, and can this user run it?",
        ) from None
