"""What an image is made of: labels, record, main software, and whether the registry names it."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.errors import DataError
from encore.images import runtime
from encore.images.record import BuildRecord, Identity, identify, read_record

_OCI_LABEL = "org.opencontainers.image."
_MAIN_SOFTWARE = ("torch", "deepspeed", "transformers", "lm-eval", "numpy")
# written by containers/inside/list_software.py
_SOFTWARE = "/opt/encore/software.cdx.json"


@dataclass(frozen=True)
class Inspection:
    """An image's identity, labels and software (CycloneDX components); record: None without one."""

    image: Path
    identity: Identity
    record: BuildRecord | None
    labels: dict[str, str]
    software: list[dict[str, Any]]

    def rows(self) -> list[tuple[str, str]]:
        """Names and values, to be read by people."""
        rows = [
            ("image", str(self.image)),
            ("kind", self.identity.name),
            ("digest", self.identity.digest),
        ]
        for label, value in sorted(self.labels.items()):
            if label.startswith(_OCI_LABEL):
                rows.append((label.removeprefix(_OCI_LABEL), value))
        if self.record is not None:
            rows.append(("built", f"{self.record.built} with {self.record.runtime}"))
        versions = {part["name"]: part["version"] for part in self.software}
        for name in _MAIN_SOFTWARE:
            if name in versions:
                rows.append((name, versions[name]))
        for part in self.software:
            # the training programs, at their commits
            if part["purl"].startswith("pkg:github/"):
                rows.append((part["name"], part["version"]))
        rows.append(("components", str(len(self.software))))
        rows.append(("registry", self.identity.reason))
        return rows

    def as_json(self) -> dict[str, Any]:
        """Everything, for scripts."""
        record = None
        if self.record is not None:
            record = dataclasses.asdict(self.record)
        return {
            "image": str(self.image),
            "identity": dataclasses.asdict(self.identity),
            "record": record,
            "labels": self.labels,
            "software": self.software,
        }


def inspect(image: Path, program: str = "auto") -> Inspection:
    """Read an image; raises DataError where that fails, EncoreError where no runtime is found."""
    if not image.is_file():
        raise DataError(
            f"{image} does not exist", "name a .sif file, as tools/build_image.py writes it"
        )
    # before the runtime is asked: it would name no reason for a file that is no image
    identity = identify(image)
    program = runtime.find_program(program)
    software = runtime.read_json([program, "exec", str(image), "cat", _SOFTWARE], image)
    inspected = runtime.read_json([program, "inspect", "--json", "--labels", str(image)], image)
    labels = dict(inspected["data"]["attributes"]["labels"])
    return Inspection(image, identity, read_record(image), labels, software["components"])
