"""The record beside a built image, and whether the image is the one in registry/images.yml."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from encore import files, strict_json
from encore.errors import DataError
from encore.images import sif
from encore.registry.images import load_images


@dataclass(frozen=True)
class BuildRecord:
    """How an image was built; written beside it as FILE.json.

    built: UTC, ISO 8601. digest: `sha256:…` of the file, None for a sandbox.
    """

    image: str
    kit_version: str
    kit_commit: str
    built: str
    runtime: str
    bootstrap: str
    base: str
    base_digest: str
    arguments: dict[str, str]
    digest: str | None


@dataclass(frozen=True)
class Identity:
    """Which image a file is.

    is_named: whether it is the registry's file, None where the registry names no digest.
    """

    name: str
    digest: str
    is_named: bool | None
    reason: str


def record_path(image: Path) -> Path:
    """Where the record of an image is."""
    return image.with_name(f"{image.name}.json")


def write_record(image: Path, record: BuildRecord) -> None:
    """Write the record beside the image."""
    text = json.dumps(dataclasses.asdict(record), indent=2)
    files.write_text(record_path(image), f"{text}\n")


def read_record(image: Path) -> BuildRecord | None:
    """The record beside an image, None where there is none; raises DataError for a damaged one."""
    path = record_path(image)
    if not path.is_file():
        return None
    try:
        return BuildRecord(**strict_json.read(path))
    except (ValueError, TypeError):
        raise DataError(
            f"{path} is not a build's record", "build the image again with tools/build_image.py"
        ) from None


def registry_entry(record: BuildRecord) -> str:
    """The digests of a build as they stand in registry/images.yml, for a person to enter there."""
    entry = {
        "bases": [{"name": record.base, "digest": record.base_digest}],
        "digest": record.digest,
    }
    return yaml.safe_dump({"images": {record.image: entry}}, sort_keys=False, width=1000).rstrip()


def identify(image: Path, name: str | None = None) -> Identity:
    """Compare an image file with the registry's image `name`.

    Without a name its record decides, then its file name. Raises DataError for a file that is no
    image, an image for another architecture, or one that is none of the kit's.
    """
    architecture = sif.architecture(image)
    if architecture != "amd64":
        raise DataError(
            f"{image} is for {architecture}", "jobs run on amd64 (x86-64); build the image there"
        )
    record = read_record(image)
    # a renamed image is still known by its record
    name = name or _image_name(image, record)
    images = load_images()
    if name not in images:
        raise DataError(
            f"{image} is none of the kit's images, neither by its record nor by its name",
            f"known: {', '.join(images)}",
        )
    digest = f"sha256:{files.sha256(image)}"
    if record is not None and record.digest != digest:
        reason = "the file is not the one that the record beside it describes"
        return Identity(name, digest, False, reason)
    registered = images[name].digest
    if registered is None:
        reason = f"registry/images.yml names no digest for {name} yet"
        return Identity(name, digest, None, reason)
    if registered != digest:
        reason = f"the file is not ({registered}) the one that registry/images.yml names"
        return Identity(name, digest, False, reason)
    return Identity(name, digest, True, "the file is the one that registry/images.yml names")


def _image_name(image: Path, record: BuildRecord | None) -> str | None:
    if record is not None:
        return record.image
    for name, facts in load_images().items():
        if facts.file == image.name:
            return name
    return None
