"""registry/images.yml: container images, what they are made of and what a job that runs in them has to set."""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER, Variable, Vendor


@dataclass(frozen=True)
class ImageBase:
    """What an image is built from: a registry's image by its tag, or an image file that is there on the machine."""

    bootstrap: Literal["docker", "localimage"]
    name: str
    source: str
    checked: datetime.date
    digest: str | None = None  # None: not built from yet; tools/build_image.py fills it in


@dataclass(frozen=True)
class Image:
    """A container image: what it is made of and what a job that runs in it has to set."""

    title: str
    vendor: Vendor
    file: str
    verb: Literal["run", "exec"]
    trainers_folder: str
    source: str
    checked: datetime.date
    squashfs: str | None = None  # the same image as enroot and pyxis read it
    python: str | None = None  # of its base; what its requirements are pinned for
    requirements: tuple[str, ...] = ()  # containers/requirements/NAME.txt
    bases: tuple[
        ImageBase, ...
    ] = ()  # the first that this machine has, else the first that is pulled
    digest: str | None = None  # of the file; None: not built yet
    options: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    module_paths: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    numa_binding: bool = False
    environment: tuple[Variable, ...] = ()
    rank_environment: tuple[Variable, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class _Images:
    images: dict[str, Image]


@functools.cache
def load_images(folder: Path = FOLDER) -> dict[str, Image]:
    """The images by name."""
    return strict_yaml.load(folder / "images.yml", _Images).images
