"""The scripts that run inside an image, laid out here as they are there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from encore import kit


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """/opt/encore/inside, with the kit as the built-in trainer beside it."""
    trainer = tmp_path / "trainers" / "builtin-causal"
    trainer.mkdir(parents=True)
    for name in ("tools", "registry", "templates"):
        (trainer / name).symlink_to(kit.ROOT / name)
    folder = tmp_path / "inside"
    # copies: the scripts resolve their own path, which a link would lead back to the checkout
    folder.mkdir()
    for script in (kit.CONTAINERS / "inside").iterdir():
        if script.is_file():
            (folder / script.name).write_bytes(script.read_bytes())
    return folder


# install_trainers, with one trainer at a repository and a commit of the test's, and no compiler
INSTALL = """
import dataclasses, subprocess, sys
import install_trainers

repository, commit = sys.argv[1:]
trainer = install_trainers.load_trainers()["bigscience"]
pin = dataclasses.replace(trainer.commits["causal"], commit=commit)
here = dataclasses.replace(trainer, repository=repository, commits={"causal": pin})
install_trainers.load_trainers = lambda: {"bigscience": here}
run = subprocess.run

def run_git(command, **options):
    if command[0] == "git":
        return run(command, **options)

subprocess.run = run_git
sys.argv[1:] = ["bigscience"]
install_trainers.main()
"""


def python(folder: Path, code: str, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run code that can import the scripts of `folder`."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\n{code}"]
    return subprocess.run([*command, *map(str, words)], cwd=folder, capture_output=True, text=True)


def test_the_images_own_test_trains_the_built_in_trainer(inside: Path) -> None:
    code = "import check_image; check_image.STACK = ('torch', 'deepspeed'); check_image.main()"
    process = python(inside, code)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "builtin-causal trains; compiled kernels: none" in process.stdout


def test_a_trainer_that_does_not_train_fails_the_images_test(inside: Path) -> None:
    code = "import check_image; check_image.train('builtin-causal', 'none.py', [], False)"
    process = python(inside, code)
    assert process.returncode == 1
    assert "builtin-causal does not train in this image" in process.stderr


def test_trainers_are_cloned_at_their_commit_and_listed(inside: Path, tmp_path: Path) -> None:
    repository = tmp_path / "owner" / "megatron"
    repository.mkdir(parents=True)
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()

    process = python(inside, INSTALL, repository, commit)
    assert process.returncode == 0, process.stderr
    listing = json.loads((tmp_path / "trainers" / "trainers.json").read_text())
    assert listing == {"bigscience-causal": {"repository": str(repository), "commit": commit}}

    software = subprocess.check_output([sys.executable, inside / "list_software.py"], text=True)
    purls = {part["purl"] for part in json.loads(software)["components"]}
    assert f"pkg:github/owner/megatron@{commit}" in purls
    assert any(purl.startswith("pkg:pypi/pytest@") for purl in purls)


def test_another_commit_than_the_pinned_one_is_refused(inside: Path, tmp_path: Path) -> None:
    repository = tmp_path / "owner" / "megatron"
    repository.mkdir(parents=True)
    process = python(inside, INSTALL, repository, "0" * 40)
    assert process.returncode == 1
    assert not (tmp_path / "trainers" / "trainers.json").exists()
