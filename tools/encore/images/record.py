"""Built images: the record beside each, whether one is what registry/images.yml names, and writing digests there."""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from encore import files
from encore.errors import DataError, RegistryError
from encore.images import definition
from encore.registry.folder import FOLDER
from encore.registry.images import load_images

REGISTRY_FILE = FOLDER / "images.yml"


@dataclass(frozen=True)
class BuildRecord:
    """How an image came to be; lies beside it as FILE.json. digest: sha256:… of the file, null for a sandbox."""

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
    """Whether a file is the image that the registry names; None where the registry names none yet."""

    name: str
    digest: str
    is_named: bool | None
    reason: str


def record_path(image: Path) -> Path:
    """Where the record of an image lies."""
    return image.with_name(f"{image.name}.json")


def write_record(image: Path, record: BuildRecord) -> None:
    """Write the record beside the image."""
    files.write_text(record_path(image), json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def read_record(image: Path) -> BuildRecord | None:
    """The record beside an image; None where there is none; raises DataError for one that is damaged."""
    path = record_path(image)
    if not path.is_file():
        return None
    try:
        return BuildRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise DataError(
            f"{path} is not a record of a build", "build the image again with tools/build_image.py"
        ) from None


def identify(image: Path, name: str | None = None) -> Identity:
    """Compare a file with the registry, under `name` or whichever image it says it is; raises DataError."""
    found = definition.architecture(image)
    if found != "amd64":
        raise DataError(f"{image} is for {found}", "the jobs run on amd64 (x86-64); build it there")
    record = read_record(image)
    known = load_images()
    name = name or (
        record.image if record else next((n for n in known if known[n].file == image.name), None)
    )
    if name not in known:
        raise DataError(
            f"{image} is none of the kit's images by its record or name",
            f"known: {', '.join(known)}",
        )
    digest = f"sha256:{files.sha256(image)}"
    named = known[name].digest
    if record and record.digest != digest:
        return Identity(
            name, digest, False, "the file is not the one that the record beside it describes"
        )
    if named is None:
        return Identity(name, digest, None, f"registry/images.yml names no digest for {name} yet")
    reason = "is" if named == digest else f"is not ({named})"
    return Identity(
        name, digest, named == digest, f"the file {reason} the one that registry/images.yml names"
    )


def write_digests(
    name: str, base: str, base_digest: str, digest: str, registry: Path = REGISTRY_FILE
) -> None:
    """Set an image's and its base's `digest:` in the registry's text, which keeps everything else as it stands."""
    block: str | None = None
    last_name = ""
    lines = registry.read_text(encoding="utf-8").splitlines(keepends=True)
    wanted = {"image": digest, "base": base_digest}
    for i, line in enumerate(lines):
        if match := re.fullmatch(r"  ([a-z0-9-]+):\s*\n", line):
            block = match[1]
        if match := re.fullmatch(r" *(?:- )?name: (.+)\n", line):
            last_name = match[1].strip().strip('"')
        if block == name and (match := re.fullmatch(r"( +)digest: .*\n", line)):
            part = "image" if len(match[1]) == 4 else "base" if last_name == base else None
            if part in wanted:
                lines[i] = f'{match[1]}digest: "{wanted.pop(part)}"\n'
    if wanted:
        raise RegistryError(
            f"{registry}: {name} has no line `digest:` for its {' and '.join(wanted)}",
            "add it, as null",
        )
    files.write_text(registry, "".join(lines))
    load_images.cache_clear()
