"""Definition files: complete, pinned, agreeing with the registry, and clean to shellcheck."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from encore import kit
from encore.images.definition import load_definition, read_definition
from encore.registry import clusters
from encore.registry.images import load_images
from encore.registry.trainers import load_trainers

FOLDER = kit.CONTAINERS
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
NAMES = sorted(path.stem for path in FOLDER.glob("*.def"))
SHELL_SECTIONS = ("post", "environment", "runscript", "test")
OURS = {"version", "commit", "base_digest"}


def shellcheck(path: Path) -> str:
    done = subprocess.run([SHELLCHECK, path], capture_output=True, text=True)
    return done.stdout + done.stderr


def test_every_image_of_the_registry_has_a_definition_and_the_reverse() -> None:
    assert set(NAMES) == set(load_images())


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_opens_with_what_it_is_and_has_every_section(name: str) -> None:
    definition = load_definition(name)
    assert definition.path.read_text().startswith("# The image for ")
    assert definition.header == {"bootstrap": "{{ bootstrap }}", "from": "{{ base }}"}
    assert {"arguments", "help", "labels", "test", "post", "files", *SHELL_SECTIONS} == set(
        definition.sections
    )


@pytest.mark.parametrize("name", NAMES)
def test_no_section_that_proot_cannot_build(name: str) -> None:
    assert not {"setup", "pre"} & set(load_definition(name).sections)


@pytest.mark.parametrize("name", NAMES)
def test_each_argument_is_used_declared_and_explained(name: str) -> None:
    definition = load_definition(name)
    used = set(re.findall(r"\{\{ *([a-z_]+) *\}\}", definition.path.read_text()))
    assert used == set(definition.arguments)
    for argument in used:
        assert argument in definition.sections["help"], argument


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("section", SHELL_SECTIONS)
def test_its_shell_is_clean(name: str, section: str, tmp_path: Path) -> None:
    text = re.sub(r"\{\{ *[a-z_]+ *\}\}", "value", load_definition(name).sections[section])
    script = tmp_path / f"{name}-{section}.sh"
    script.write_text(f"#!/bin/sh\n{text}")
    assert shellcheck(script) == ""


@pytest.mark.parametrize("script", sorted(FOLDER.rglob("*.sh")), ids=lambda path: path.name)
def test_a_script_beside_them_is_clean_and_says_what_it_does(script: Path) -> None:
    assert shellcheck(script) == ""
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash" and lines[1].startswith("# ")


@pytest.mark.parametrize("name", NAMES)
def test_its_base_is_the_registrys_and_pinned_by_tag(name: str) -> None:
    default = load_definition(name).arguments["base"]
    bases = {base.name for base in load_images()[name].bases if base.bootstrap == "docker"}
    assert default in bases
    assert re.search(r":[^/:]*[0-9]", default) and "latest" not in default


@pytest.mark.parametrize("name", NAMES)
def test_its_labels_say_kit_commit_and_base_digest(name: str) -> None:
    labels = load_definition(name).sections["labels"]
    for argument in OURS | {"base"}:
        assert f"{{{{ {argument} }}}}" in labels


@pytest.mark.parametrize("name", NAMES)
def test_its_trainers_are_the_registrys_and_no_commit_is_typed_twice(name: str) -> None:
    definition = load_definition(name)
    for trainer in definition.arguments.get("trainers", "").split():
        assert load_images()[name].vendor in load_trainers()[trainer].vendors
    commits = {
        pin.commit
        for trainer in load_trainers().values()
        for pin in trainer.commits.values()
        if pin.commit
    }
    for path in FOLDER.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert not any(commit in path.read_text() for commit in commits), path


def test_the_jobs_of_a_cluster_find_their_trainer_in_its_image() -> None:
    for cluster in map(clusters.load_cluster, clusters.cluster_names()):
        if cluster.image is not None:
            installed = load_definition(cluster.image).arguments.get("trainers", "").split()
            assert cluster.trainer in [*installed, "builtin"]


@pytest.mark.parametrize("name", NAMES)
def test_requirements_are_pinned_and_hashed(name: str) -> None:
    for requirement in load_images()[name].requirements:
        entries = re.split(
            r"\n(?=\S)", (FOLDER / "requirements" / f"{requirement}.txt").read_text()
        )
        pins = [entry for entry in entries if not entry.startswith("#")]
        assert pins
        for pin in pins:
            assert re.match(
                r"[A-Za-z0-9._-]+==\S+ \\\n( +--hash=sha256:[0-9a-f]{64}( \\\n|\n?))+$", pin
            ), pin[:80]


def test_a_gpu_base_keeps_its_own_torch() -> None:
    for requirement in ("gpu", "deepspeed"):
        text = (FOLDER / "requirements" / f"{requirement}.txt").read_text()
        assert not re.search(r"^(torch|numpy|triton|nvidia-\S+|cuda-\S+)==", text, re.MULTILINE)


def test_a_section_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.def"
    path.write_text("Bootstrap: docker\nFrom: x\n\n%post\n    true\n%post\n    true\n")
    with pytest.raises(Exception, match="%post occurs twice"):
        read_definition(path)
