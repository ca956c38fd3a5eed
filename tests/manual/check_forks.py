"""Run the argument parsers of the Megatron-DeepSpeed forks on rendered command lines.

It prints PASS or FAIL for each.

    tests/manual/check_forks.py --fork turkunlp=~/src/turku --fork bigscience=~/src/bigs PLAN.json …
    tools/render_sbatch.py 146m14b400m --dry-run --json \\
      | tests/manual/check_forks.py --fork turkunlp=~/src/turku -
    tests/manual/check_forks.py --fork turkunlp=~/src/turku        # the registry's lists only
    tests/manual/check_forks.py --fork deepspeedai=~/src/ds --list # for registry/trainers.yml

--fork NAME[:OBJECTIVE]=FOLDER names a checkout of the commit that registry/trainers.yml pins; the
default objective is causal. Each fork's parser is compared with the options and switches that the
registry lists, then parses each PLAN: a plan of render_sbatch.py (`trainer`, `trainer_args`,
`gpus`, `data_paths`), or a bare list of arguments, which goes to every fork. Parsing, the fork's
own validation and its batch arithmetic run as they are; only imports that are not installed and
that no argument depends on (apex, torch._six, six, …) are replaced by empty modules.

Reads the checkouts, writes nothing outside a temporary folder. Exit code 0: all PASS; 1: a FAIL.
Needs torch and deepspeed.
"""

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from encore.registry.trainers import load_trainers

_EMPTY = ("apex", "amp_C", "einops", "sentencepiece", "six", "torch._six")
_WORKER = "--inside"


class EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last on the import path: an empty module for each of _EMPTY that is not installed."""

    def find_spec(
        self, name: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name in _EMPTY or name.partition(".")[0] in _EMPTY:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__getattr__ = _anything  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def _anything(name: str) -> MagicMock:
    if name.startswith("__"):
        raise AttributeError(name)
    return MagicMock()


def inside(folder: str, arguments: list[str] | None) -> dict[str, Any]:
    """In a process of its own: the parser's own arguments (None), or those of a command line."""
    sys.meta_path.append(EmptyModules())
    sys.path.insert(0, folder)
    from megatron import arguments as fork
    from megatron.microbatches import build_num_microbatches_calculator

    if arguments is None:
        return _parser_arguments(fork)
    sys.argv = ["pretrain", *arguments]
    if hasattr(fork, "validate_args"):
        parsed = fork.validate_args(fork.parse_args(), {"tokenizer_type": "GPT2BPETokenizer"})
    else:
        parsed = fork.parse_args(defaults={"tokenizer_type": "GPT2BPETokenizer"})
    build_num_microbatches_calculator(parsed)
    return {
        "global_batch_size": parsed.global_batch_size,
        "data_parallel_size": parsed.data_parallel_size,
    }


def _parser_arguments(fork: types.ModuleType) -> dict[str, Any]:
    caught: list[argparse.ArgumentParser] = []

    def catch(parser: argparse.ArgumentParser, *_: object) -> None:
        caught.append(parser)
        raise InterruptedError

    argparse.ArgumentParser.parse_args = catch  # type: ignore[assignment]
    with contextlib.suppress(InterruptedError):
        fork.parse_args()
    actions = [action for action in caught[0]._actions if action.dest != "help"]
    return {
        "options": sorted(
            name for action in actions if action.nargs != 0 for name in action.option_strings
        ),
        "switches": sorted(
            name for action in actions if action.nargs == 0 for name in action.option_strings
        ),
    }


def ask(
    folder: Path, arguments: list[str] | None, world_size: int, where: str
) -> tuple[dict[str, Any] | None, str]:
    """The result of `inside`, or None and the last line that the fork wrote: its error."""
    answer = Path(where) / "answer.json"
    answer.unlink(missing_ok=True)
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        _WORKER,
        str(folder),
        str(answer),
        json.dumps(arguments),
    ]
    environment = {
        **os.environ,
        "WORLD_SIZE": str(world_size),
        "RANK": "0",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
    }
    ended = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    if ended.returncode == 0 and answer.exists():
        return json.loads(answer.read_text()), ""
    return None, (ended.stderr or ended.stdout).strip().splitlines()[-1]


def with_data_files(plan: dict[str, Any], where: str) -> list[str]:
    """The plan's arguments; those that name a data-path file name a copy of it that exists."""
    arguments = list(plan["trainer_args"])
    lines = {Path(name).name: line for name, line in plan.get("data_paths", {}).items()}
    for position, argument in enumerate(arguments):
        name = Path(argument).name
        if name in lines:
            copy = Path(where) / name
            copy.write_text(lines[name].rstrip("\n") + "\n")
            arguments[position] = str(copy)
    return arguments


def read_plan(name: str) -> dict[str, Any]:
    """A plan from a file, or from stdin for `-`; a bare list of arguments becomes a plan."""
    plan = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text())
    return plan if isinstance(plan, dict) else {"trainer_args": plan}


def report(passed: bool, what: str, why: str = "") -> bool:
    """One PASS or FAIL line."""
    verdict = "PASS" if passed else "FAIL"
    reason = f": {why}" if why else ""
    print(f"{verdict}  {what}{reason}", flush=True)
    return passed


def check_lists(name: str, objective: str, folder: Path, where: str) -> bool:
    """Whether the registry lists exactly the arguments of the fork's parser."""
    title = f"{name} {objective}: the registry lists its arguments"
    trainer = load_trainers().get(name)
    pin = trainer and trainer.commits.get(objective)
    if not pin:
        return report(False, title, "registry/trainers.yml has no such trainer or objective")
    own, why = ask(folder, None, 1, where)
    if own is None:
        return report(False, title, why)
    differences = []
    for kind, names in (("options", pin.with_value), ("switches", pin.without_value)):
        difference = sorted(names.symmetric_difference(own[kind]))
        if difference:
            differences.append(f"{kind} {difference}")
    count = f"{len(pin.with_value | pin.without_value)} of them"
    return report(not differences, title, "; ".join(differences) or count)


def print_lists(folder: Path, where: str) -> bool:
    """The parser's arguments as registry/trainers.yml writes them."""
    own, why = ask(folder, None, 1, where)
    for kind, arguments in (own or {}).items():
        lines = textwrap.fill(" ".join(arguments), 112, break_on_hyphens=False)
        print(f"{kind}: >-\n{textwrap.indent(lines, '  ')}")
    return report(own is not None, f"{folder}: listed", why)


def check_plan(
    plan_name: str, plan: dict[str, Any], fork: tuple[str, str, Path], where: str
) -> bool:
    """Whether the fork accepts the plan's command line."""
    name, objective, folder = fork
    world_size = int(plan.get("gpus", 1))
    sizes, why = ask(folder, with_data_files(plan, where), world_size, where)
    what = f"{name} {objective}: {plan.get('name', plan_name)} on {world_size} ranks"
    text = ", ".join(f"{name} {size}" for name, size in (sizes or {}).items())
    return report(sizes is not None, what, why or text)


def concerns(plan: dict[str, Any], name: str, objective: str) -> bool:
    """A plan names its trainer and objective; a bare list of arguments is for all."""
    return plan.get("trainer", name) == name and plan.get("objective", objective) == objective


def fork_of(text: str) -> tuple[str, str, Path]:
    """turkunlp:ul2=FOLDER as trainer, objective and folder."""
    title, _, folder = text.partition("=")
    name, _, objective = title.partition(":")
    if not (Path(folder).expanduser() / "megatron/arguments.py").is_file():
        raise argparse.ArgumentTypeError(f"{text!r} is not TRAINER[:OBJECTIVE]=CHECKOUT")
    return name, objective or "causal", Path(folder).expanduser().resolve()


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plans", nargs="*", metavar="PLAN", help="a JSON file, or - for stdin")
    parser.add_argument(
        "--fork", type=fork_of, action="append", required=True, help="TRAINER[:OBJECTIVE]=CHECKOUT"
    )
    parser.add_argument("--list", action="store_true", help="print each fork's arguments and end")
    options = parser.parse_args(argv)
    plans = [(name, read_plan(name)) for name in options.plans]
    with tempfile.TemporaryDirectory() as where:
        if options.list:
            results = [print_lists(folder, where) for _, _, folder in options.fork]
            return 0 if all(results) else 1
        results = [check_lists(*fork, where) for fork in options.fork]
        for plan_name, plan in plans:
            for fork in options.fork:
                if concerns(plan, fork[0], fork[1]):
                    results.append(check_plan(plan_name, plan, fork, where))
    return 0 if all(results) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == [_WORKER]:
        Path(sys.argv[3]).write_text(json.dumps(inside(sys.argv[2], json.loads(sys.argv[4]))))
    else:
        sys.exit(main())
