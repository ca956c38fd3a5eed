"""The pinned requirements: as uv resolves them for each image, within pyproject.toml's bounds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from encore import kit
from encore.images.wheels import REQUIREMENTS
from helpers.local_machine import not_run
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYPROJECT = kit.ROOT / "pyproject.toml"


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A copy of the requirements, with pyproject.toml where they look for it."""
    shutil.copy(PYPROJECT, tmp_path)
    return Path(shutil.copytree(REQUIREMENTS, tmp_path / "containers" / "requirements"))


def compile_anew(folder: Path, *names: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.run(
        [folder / "compile.sh", *names],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    if process.returncode and "Request failed" in process.stderr:
        not_run(f"no package index answers: {process.stderr[-300:]}")
    assert process.returncode == 0, process.stderr[-3000:]


def pins(path: Path) -> dict[str, str]:
    """The version of each distribution in a requirements file."""
    return dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)==(\S+)", path.read_text()))


def bounds() -> list[Requirement]:
    """All requirements of the kit, of any extra, but for the kit's own name."""
    project: dict[str, Any] = tomllib.loads(PYPROJECT.read_text())["project"]
    texts = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        texts += extra
    requirements = map(Requirement, texts)
    return [requirement for requirement in requirements if requirement.name != project["name"]]


def test_compiling_them_anew_changes_nothing(copies: Path) -> None:
    """uv keeps pins that fit; one that was withdrawn, or is out of its bounds, would change."""
    compile_anew(copies)
    for path in REQUIREMENTS.iterdir():
        assert (copies / path.name).read_text() == path.read_text(), path.name


def test_a_bound_of_the_kit_reaches_the_images(copies: Path) -> None:
    """The check above can fail: a narrower bound in pyproject.toml replaces the pin."""
    pyproject = copies.parents[1] / "pyproject.toml"
    text = pyproject.read_text()
    assert '"xxhash>=3,<4"' in text
    pyproject.write_text(text.replace('"xxhash>=3,<4"', '"xxhash>=3,<3.6"'))
    compile_anew(copies, "gpu")
    assert pins(copies / "gpu.txt")["xxhash"].startswith("3.5.")


@pytest.mark.parametrize("name", ["build", "cpu", "cpu-torch", "gpu", "deepspeed"])
def test_each_pin_is_within_the_kits_bounds(name: str) -> None:
    versions = pins(REQUIREMENTS / f"{name}.txt")
    assert versions
    checked = []
    for requirement in bounds():
        version = versions.get(canonicalize_name(requirement.name))
        if version is not None:
            assert requirement.specifier.contains(version, prereleases=True), requirement
            checked.append(requirement.name)
    # setuptools, which build.txt pins, is none of the kit's own
    assert checked or name == "build"


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_an_image_holds_the_extras_that_its_commands_need(name: str) -> None:
    """Training, conversion and the Hub run inside; torch is a file of its own or the base's."""
    versions = pins(REQUIREMENTS / f"{name}.txt")
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    for extra in ("data", "train", "convert", "hub"):
        for text in project["optional-dependencies"][extra]:
            package = canonicalize_name(Requirement(text).name)
            if package not in (project["name"], "torch", "numpy", "deepspeed"):
                assert package in versions
