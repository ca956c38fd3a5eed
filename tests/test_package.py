"""What holds for every module of the package and every command."""

import ast
import importlib
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from encore import kit

PACKAGE = kit.ROOT / "tools" / "encore"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
COMMANDS = sorted((kit.ROOT / "tools").glob("*.py"))
# a command beside the package would shadow them
_DEPENDENCIES = {"datasets", "tokenizers", "evaluate", "torch", "deepspeed"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_says_what_it_is_and_does_not_print(module: Path) -> None:
    tree = parsed(module)
    assert ast.get_docstring(tree)
    if module.name != "cli.py":
        called = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called.add(node.func.id)
        assert not {"print", "exit"} & called


def test_no_class_name_stands_twice() -> None:
    names: Counter[str] = Counter()
    for module in MODULES:
        names.update(
            node.name for node in ast.walk(parsed(module)) if isinstance(node, ast.ClassDef)
        )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_module_is_called_as_its_wing() -> None:
    assert [name_of(path) for path in MODULES if path.stem == path.parent.name] == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_no_command_shadows_a_module(command: Path) -> None:
    assert command.stem not in sys.stdlib_module_names | _DEPENDENCIES


def module_patterns(module: Path) -> list[re.Pattern[str]]:
    values = vars(importlib.import_module(f"encore.{name_of(module)}")).values()
    return [
        value
        for value in values
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str)
    ]


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_digits_and_letters_are_those_of_ascii(module: Path) -> None:
    """int("²") fails where "²".isdigit() holds, and Slurm, Docker and paths know one script."""
    if module.name != "probe.py":
        for pattern in module_patterns(module):
            unlimited = re.search(r"\\[dw]", pattern.pattern) and not pattern.flags & re.ASCII
            assert not unlimited, pattern.pattern
    tree = parsed(module)
    source = module.read_text(encoding="utf-8")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("isalnum", "isalpha", "isnumeric", "isidentifier", "isdecimal")
            if node.attr == "isdigit":
                line = source.splitlines()[node.lineno - 1]
                assert "isascii()" in line, f"{module}:{node.lineno}"
