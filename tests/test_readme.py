"""The README is true: its tree, its commands, its wings."""

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.demo_home import Demo
from helpers.readme import README, ROOT, blocks, output, shown_output

TEXT = README.read_text(encoding="utf-8")
PACKAGE = ROOT / "tools" / "encore"


def tree() -> list[str]:
    """The paths of the captioned tree; two blanks of indentation are a folder deeper."""
    (block,) = blocks("text")
    paths, folders = [], []
    for line in block.splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        assert len(line.split()) > 1, f"{name} has no caption"
        folders[depth:] = [name]
        paths.append("".join(folders))
    return paths


def commands() -> list[str]:
    lines = "".join(blocks("bash")).splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.startswith("tools/")]


def wings() -> set[str]:
    """The wings that the README's table names."""
    return set(re.findall(r"^\| `(\w+)/` \|", TEXT, re.MULTILINE))


@pytest.mark.parametrize(("command", "shown"), shown_output())
def test_the_output_that_is_shown_is_what_the_command_prints(command: str, shown: str) -> None:
    assert output(command) == shown, "make render refreshes it"


def test_every_path_of_the_tree_exists() -> None:
    assert [path for path in tree() if not (ROOT / path).exists()] == []


def test_every_command_registry_file_and_top_folder_is_in_the_tree() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    shown = {path.rstrip("/") for path in tree()}
    top = {path.split("/")[0] for path in tracked if not path.startswith(".")}
    listed = {path for path in tracked if re.fullmatch(r"tools/\w+\.py|registry/[\w.]+", path)}
    assert (top - {"README.md", "LICENSE", "CITATION.cff"}) | (
        listed - {"registry/README.md"}
    ) <= shown


@pytest.mark.parametrize("command", commands())
def test_commands_run_as_they_stand(command: str, demo: Demo, tmp_path: Path) -> None:
    for name, target in (("tools", ROOT / "tools"), ("demo", demo.home / "demo")):
        (tmp_path / name).symlink_to(target)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": path, "XDG_CONFIG_HOME": str(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize("tool", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.name)
def test_every_command_has_runnable_help_with_examples(tool: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    ended = subprocess.run([tool, "--help"], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert re.search(rf"^  tools/{tool.name}", ended.stdout, re.MULTILINE)


def test_the_table_of_wings_is_the_packages_folders() -> None:
    assert wings() == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def test_relative_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_git_ignores_what_the_examples_write() -> None:
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    outputs = set()
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        command = line.partition("#")[0]
        if not command.startswith("tools/"):
            continue
        for words in re.findall(r"--out ((?:[^\s-]\S*\s*)+)", command):
            outputs.update(words.split())
        outputs.update(re.findall(r"to-transformers \S+ (\S+)", command))
    assert {"job.sbatch", "curves.html", "curves.csv", "loss.png", "model"} <= outputs
    for path in outputs:
        top = path.partition("/")[0]
        assert any(fnmatch.fnmatch(top, pattern) for pattern in ignored), path
