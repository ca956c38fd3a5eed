"""Every command refuses what it cannot use: exit code, one line that names it, nothing changed."""

import importlib
from collections.abc import Callable

import pytest
from encore import kit
from helpers.bad_inputs import Row, Table, WorkFolder, name_of, options, subcommands

COMMANDS = sorted(path.stem for path in (kit.ROOT / "tools").glob("*.py"))
# make check tries one row of so many
_SAMPLED = 12


def table(tool: str) -> Table:
    return importlib.import_module(f"hostile.{tool}").TABLE


def all_rows() -> list:
    params = []
    for tool in COMMANDS:
        for number, row in enumerate(table(tool).all_rows()):
            marks = [pytest.mark.xdist_group(f"hostile {tool}")]
            if number % _SAMPLED:
                marks.append(pytest.mark.slow)
            params.append(pytest.param(tool, row, marks=marks, id=f"{tool}: {row}"))
    return params


def test_every_command_and_option_has_its_rows() -> None:
    """One that has none must get a table, or be named in its command's."""
    for tool in COMMANDS:
        for subcommand, parser in subcommands(tool).items():
            assert subcommand in table(tool).lines, f"{tool} {subcommand}"
            for action in options(parser):
                try:
                    table(tool).kind(subcommand, action)
                except KeyError:
                    where = f"tests/hostile/{tool}.py, kinds: {subcommand} {name_of(action)}"
                    pytest.fail(f"say what it takes in {where}", pytrace=False)
        assert len(table(tool).all_rows()) >= 10, tool


@pytest.fixture(scope="module")
def work_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], WorkFolder]:
    folders = {}

    def of(tool: str) -> WorkFolder:
        if tool not in folders:
            folder = tmp_path_factory.mktemp("hostile") / "work"
            folders[tool] = WorkFolder(table(tool), folder)
        return folders[tool]

    return of


@pytest.mark.parametrize(("tool", "row"), all_rows())
def test_a_bad_input_is_refused(
    tool: str, row: Row, work_folder: Callable[[str], WorkFolder]
) -> None:
    work_folder(tool).check(row)
