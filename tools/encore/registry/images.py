"""registry/images.yml: what container images are built from and what a job in them has to set."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER, Vendor
from encore.registry.variables import Variable


@dataclass(frozen=True)
class ImageBase:
    """What an image is built from: a tag in a container registry, or an image file.

    digest: None until a build has shown it, and somebody has entered it.
    """

    bootstrap: Literal["docker", "localimage"]
    name: str
    source: str
    checked: datetime.date
    digest: str | None = None


@dataclass(frozen=True)
class Image:
    """A container image.

    squashfs: the same image for enroot and pyxis. python: the version that its base has and its
    requirements are pinned for. requirements: containers/requirements/NAME.txt, in the order of
    installation. bases: by preference; the first that this machine has, else the first that is
    pulled. digest: `sha256:…` of the file, None before it is built. unset: variables of the user's
    that would break a job in it.
    """

    title: str
    vendor: Vendor
    file: str
    verb: Literal["run", "exec"]
    trainers_folder: str
    source: str
    checked: datetime.date
    squashfs: str | None = None
    # what it is built from
    python: str | None = None
    requirements: tuple[str, ...] = ()
    bases: tuple[ImageBase, ...] = ()
    digest: str | None = None
    # what a job that runs in it has to set
    options: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    module_paths: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    numa_binding: bool = False
    unset: tuple[str, ...] = ()
    environment: tuple[Variable, ...] = ()
    rank_environment: tuple[Variable, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class _Images:
    images: dict[str, Image]


@functools.cache
def load_images(folder: Path = FOLDER) -> dict[str, Image]:
    """images.yml, by name."""
    return strict_yaml.load(folder / "images.yml", _Images).images
