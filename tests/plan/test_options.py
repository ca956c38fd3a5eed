"""The options that make a request: the same in every command, with the same result."""

import argparse
import importlib
import itertools
import shlex
from pathlib import Path

import pytest
from encore.plan import options
from encore.plan.records import Request
from encore.plan.user_config import UserConfig
from encore.registry.trainers import load_trainers
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

TOOLS = Path(__file__).resolve().parents[2] / "tools"
# command → what stands before and after its request options
COMMANDS = {
    "render_sbatch": ([], []),
    "doctor": ([], []),
    "hub push": (["push"], ["folder"]),
    "hub sync": (["sync"], ["folder"]),
}
CONFIG = UserConfig(cluster="cuda", account="a", workspace="/w")


def parser_of(command: str) -> argparse.ArgumentParser:
    module, _, subcommand = command.partition(" ")
    parser: argparse.ArgumentParser = importlib.import_module(module).build_parser()
    if subcommand:
        (subparsers,) = (
            action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
        )
        parser = subparsers.choices[subcommand]
    return parser


def request_actions() -> list[argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    options.add_request_options(parser)
    return parser._actions


PARSERS = {command: parser_of(command) for command in COMMANDS}


def words(command: str, arguments: list[str]) -> list[str]:
    """The command line after the (sub)command's own name."""
    return ["146m14b400m", *COMMANDS[command][1], *arguments]


def test_the_help_names_every_trainer() -> None:
    (trainer,) = (action for action in request_actions() if action.dest == "trainer")
    assert all(name in str(trainer.help) for name in load_trainers())


def test_every_command_that_uses_them_is_tested_here() -> None:
    users = set()
    for path in TOOLS.glob("*.py"):
        if "add_request_options" in path.read_text(encoding="utf-8"):
            users.add(path.stem)
    assert users == {command.split()[0] for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("expected", request_actions(), ids=lambda action: action.dest)
def test_every_command_has_each_option_with_the_same_default_and_help(
    expected: argparse.Action, command: str
) -> None:
    (action,) = (a for a in PARSERS[command]._actions if a.dest == expected.dest)
    for attribute in ("option_strings", "nargs", "default", "type", "choices", "metavar", "help"):
        assert getattr(action, attribute) == getattr(expected, attribute)


def option(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.one_of(st.just([]), values.map(lambda value: [name, value]))


ARGUMENTS = st.tuples(
    option("--cluster", st.sampled_from(["lumi", "cuda", "local"])),
    option("--nodes", st.integers(1, 99).map(str)),
    option("--time", st.sampled_from(["01:00:00", "1-00:00:00"])),
    option("--account", st.just("project_1")),
    option("--objective", st.sampled_from(["causal", "ul2"])),
    option("--trainer", st.sampled_from(["turkunlp", "bigscience"])),
    option("--workspace", st.just("/x")),
    option("--params", st.just("146m")),
    option("--tokens", st.just("14b")),
    option("--unique", st.just("400m")),
    option("--set", st.sampled_from(["lr=1.0e-4", "seed=7"])),
    st.sampled_from([[], ["--as-released"]]),
).map(lambda parts: list(itertools.chain(*parts)))


@examples(50)
@given(ARGUMENTS)
def test_the_same_arguments_make_the_same_request_everywhere(arguments: list[str]) -> None:
    requests: list[Request] = []
    for command, parser in PARSERS.items():
        args = parser.parse_args(words(command, arguments))
        requests.append(options.request(args, CONFIG))
    assert all(request == requests[0] for request in requests)


@examples(50)
@given(ARGUMENTS)
def test_a_requests_command_line_makes_that_request(arguments: list[str]) -> None:
    parser = PARSERS["render_sbatch"]
    made = options.request(parser.parse_args(words("render_sbatch", arguments)), CONFIG)
    again = parser.parse_args(shlex.split(made.as_command())[1:])
    assert options.request(again, UserConfig()) == made
