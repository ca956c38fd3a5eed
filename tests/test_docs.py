"""The pages in docs/ are true: their commands parse, what they render renders, their links lead
somewhere.
"""

import importlib.util
import json
import os
import re
import shlex
import sys
from pathlib import Path

import prepare_corpus
import pytest
from helpers.commands import run_command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
ALL_PAGES = sorted((ROOT / "docs").glob("*.md"))
ABOUT_ENCORE = {"checks", "contributing"}
PAGES = [page for page in ALL_PAGES if page.stem not in ABOUT_ENCORE]
PROGRAMS = Path(sys.executable).parent
# these walk through the set-up of a cluster
CLUSTER_PAGES = [page for page in PAGES if page.stem != "scaling"]
PER_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
PER_CLUSTER = pytest.mark.parametrize("page", CLUSTER_PAGES, ids=lambda page: page.stem)


def commands(page: Path, program: str) -> list[list[str]]:
    """The command lines of a page that call a program, without comments and what they are piped
    into.
    """
    text = "".join(
        re.findall(
            r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
    )
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    calls = [line[: line.index("|")] if "|" in line else line for line in lines]
    return [call[i:] for call in calls for i, word in enumerate(call) if re.search(program, word)]


@PER_PAGE
def test_the_options_of_every_command_are_the_commands_own(page: Path) -> None:
    calls = commands(page, r"^tools/")
    assert calls
    for tool, *arguments in calls:
        spec = importlib.util.spec_from_file_location(Path(tool).stem, ROOT / tool)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.build_parser().parse_args(arguments)


@PER_CLUSTER
def test_what_is_rendered_renders(page: Path, tmp_path: Path) -> None:
    calls = commands(page, r"render_sbatch\.py$")
    assert calls
    for call in calls:
        tool, *words = call
        environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
        done = run_command(Path(tool).stem, *words, cwd=ROOT, env=environment)
        assert done.returncode == 0 and done.stdout, f"{shlex.join(call)}: {done.stderr}"


@PER_PAGE
def test_what_is_tokenized_is_what_a_run_of_the_page_reads(page: Path, tmp_path: Path) -> None:
    """The prefix, the tokenizer and the amount are those of the plan."""
    calls = commands(page, r"prepare_corpus\.py$")
    if not calls:
        return
    _, *words = commands(page, r"render_sbatch\.py$")[0]
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    done = run_command("render_sbatch", *words, "--json", cwd=ROOT, env=environment)
    plan = json.loads(done.stdout)
    files_to_read = set()
    for line in plan["data_paths"].values():
        files_to_read.update(re.findall(r"[^\s\"]+_document", line))
    files_written = set()
    for _, *arguments in calls:
        args = prepare_corpus.build_parser().parse_args(arguments)
        files_written.add(f"{args.output_prefix}_text_document")
        assert f"{args.tokenizer}/vocab.json" in plan["trainer_args"]
        assert args.append_eod
        assert args.tokens in (None, plan["unique_tokens"])
    assert files_written == files_to_read


@PER_CLUSTER
def test_its_playbooks_exist_and_their_variables_are_documented(page: Path) -> None:
    defaults = "\n".join(
        path.read_text() for path in ROOT.glob("playbooks/roles/*/defaults/main.yml")
    )
    calls = commands(page, r"ansible-playbook$")
    assert calls
    for _, playbook, *options in calls:
        assert (ROOT / playbook).is_file()
        for name in re.findall(r"^(\w+)=", "\n".join(options), re.MULTILINE):
            assert name == "state" or re.search(rf"^{name}:", defaults, re.MULTILINE), name


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: page.stem)
def test_its_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_every_cluster_has_a_page_that_the_readme_links() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\(docs/(\w+)\.md\)", readme))
    assert linked == {page.stem for page in ALL_PAGES}
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for profile in (ROOT / "registry" / "clusters").glob("*.yml"):
        assert f"--cluster {profile.stem} " in text


def test_every_dependency_is_explained() -> None:
    """docs/contributing.md has a row for each optional dependency and the extra that brings it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w, -]+) \| `?(\w+)`? \|", text, re.MULTILINE)
    explained = set()
    for names, extra in rows:
        if extra != "extra":
            explained |= {(extra, name) for name in names.split(", ")}
    declared = {("base", _distribution(line)) for line in project["dependencies"]}
    for extra, lines in project["optional-dependencies"].items():
        if extra != "dev":
            declared |= {(extra, _distribution(line)) for line in lines}
    declared = {(extra, name) for extra, name in declared if name != "encore-kit"}
    assert {name for _, name in declared} == {name for _, name in explained}
    assert explained <= declared


def _distribution(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
