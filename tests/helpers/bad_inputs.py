"""Bad inputs: rows of a command line and what its user must see, and the machine that tries them.

A table (tests/hostile/COMMAND.py) states a good command line for each subcommand. From the
command's own parser come rows that spoil one word of it, by the kind of value that the word is; a
table adds rows of its own. Every row ends with the expected exit code and one line that names what
was wrong, and leaves the folder in which it runs as it was.
"""

import argparse
import contextlib
import importlib
import os
import random
import re
import shlex
import shutil
import signal
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encore import human
from helpers.commands import run_command

# long enough for any row on a loaded machine: it ends what waits for ever, a FIFO for instance
_HANG_S = 120
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
ESCAPE = "\x1b[31mred"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 123\n"


@dataclass(frozen=True)
class Row:
    """A command line, its exit code, and what its line names: any one of these."""

    words: tuple[str, ...]
    code: int
    names: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        shown = []
        for word in self.words:
            shown.append(shlex.quote(word if len(word) < 40 else f"{word[:30]}...{len(word)}"))
        shown += [f"{name}={value}" for name, value in self.environment]
        line = " ".join(shown).encode("ascii", "backslashreplace").decode()
        return line if len(line) < 100 else f"{line[:40]} ... {line[-50:]}"


def row(line: str, code: int, *names: str, **environment: str) -> Row:
    """A row from a command line as it is typed, without the command's name."""
    return Row(tuple(shlex.split(line)), code, names, tuple(environment.items()))


@dataclass(frozen=True)
class Kind:
    """The values that a kind of option must refuse: each with the exit code, by a name."""

    values: Mapping[str, tuple[str, int]]

    def but(self, *names: str) -> "Kind":
        """Without these."""
        return Kind({name: value for name, value in self.values.items() if name not in names})

    def also(self, code: int, *values: str) -> "Kind":
        """With these too."""
        return Kind({**self.values, **{value: (value, code) for value in values}})


def _usage(**values: str) -> dict[str, tuple[str, int]]:
    return {name: (value, 2) for name, value in values.items()}


_TEXTS = _usage(words="two words", empty="", escape=ESCAPE, dots="1.2.3", surrogate="1\udcff")
NUMBER = Kind(
    _TEXTS
    | _usage(nan="nan", infinite="inf", negative="-1", overflow="1e999", digits="9" * 400)
    | _usage(arabic="\u0663")
)
COUNT = Kind(NUMBER.values | _usage(zero="0"))
INTEGER = COUNT.but("zero", "negative").also(2, "1.5")
CHOICE = Kind(_usage(unknown="no-such", empty="", escape=ESCAPE, surrogate="1\udcff"))
NAME = Kind(_usage(empty=""))
FLAG = Kind(_usage(value="1"))
_PATHS = {
    "empty": ("", 2),
    "user": ("~nosuchuser/x", 2),
    "too long": ("a" * 300, 1),
    "too deep": ("b/" * 3000, 1),
    "loop": ("loop", 1),
    "below a file": ("file/x", 1),
}
INPUT = Kind(
    _PATHS
    | {
        "missing": ("missing", 1),
        "escape": (ESCAPE, 1),
        "surrogate": ("1\udcff", 1),
        "dangling": ("dangling", 1),
    }
)
INPUT_FILE = INPUT.also(1, "folder", "fifo", "empty-file", "noise", "pointer", "deep.json")
INPUT_FOLDER = INPUT.also(1, "fifo", "file", "folder")
OUTPUT = Kind(_PATHS | {"nowhere": ("/proc/nowhere/x", 1)})
OUTPUT_FILE = OUTPUT.but("loop").also(1, "folder", "fifo")
OUTPUT_FOLDER = OUTPUT.but("loop").also(1, "file", "fifo", "dangling")
NOTHING = Kind({})

_BY_TYPE: dict[Any, Kind] = {
    int: COUNT,
    float: NUMBER,
    human.amount: COUNT,
    human.count: COUNT,
    human.integer: COUNT,
    human.size: COUNT,
    human.number: NUMBER,
    human.interval: COUNT,
}


def special_files(folder: Path) -> None:
    """What the path kinds name, in a folder."""
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "file").write_text("a file\n")
    for name, data in spoiled(b"").items():
        (folder / name).write_bytes(data)


def spoiled(good: bytes) -> dict[str, bytes]:
    """What a file may hold instead of what it should."""
    contents = {
        "empty-file": b"",
        "noise": random.Random(5).randbytes(5000),
        "pointer": POINTER,
        "deep.json": b"[" * 200_000,
        "latin1.json": '{"text": "caf\xe9"}\n'.encode("latin-1"),
        "huge.json": b'{"text": ' + b"9" * 5000 + b"}\n",
        "list.json": b"[]\n",
    }
    if good:
        contents["half"] = good[: len(good) // 2]
        contents["longer"] = good + b"\0" * 64
    return contents


@dataclass(frozen=True)
class Table:
    """A command's rows.

    lines: a good command line for each subcommand, "" for a command without them; positional
        arguments come first, in the parser's order.
    kinds: what options and positional arguments are, where their type alone does not say; by
        "SUBCOMMAND OPTION" or OPTION.
    prepare: fills the folder in which the rows run.
    """

    tool: str
    prepare: Callable[[Path], object]
    lines: Mapping[str, str]
    kinds: Mapping[str, Kind]
    rows: tuple[Row, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def all_rows(self) -> list[Row]:
        """Its own rows, and those that spoil a good line."""
        rows = list(self.rows)
        for subcommand, parser in subcommands(self.tool).items():
            for action in options(parser):
                rows += self._spoiled(subcommand, parser, action)
        return rows

    def _spoiled(
        self, subcommand: str, parser: argparse.ArgumentParser, action: argparse.Action
    ) -> list[Row]:
        rows = []
        name = name_of(action)
        kind = self.kind(subcommand, action)
        for value, code in kind.values.values():
            words = _with_value(shlex.split(self.lines[subcommand]), parser, action, value)
            names = (name, str(action.metavar or action.dest), *_as_shown(value))
            rows.append(Row(tuple(words), code, names))
        return rows

    def kind(self, subcommand: str, action: argparse.Action) -> Kind:
        """What the action is. Raises KeyError where neither its type nor the table says."""
        name = name_of(action)
        for key in (f"{subcommand} {name}", name):
            if key in self.kinds:
                return self.kinds[key]
        if action.nargs == 0:
            return FLAG
        if action.choices is not None:
            return CHOICE
        return _BY_TYPE[action.type]


def _as_shown(value: str) -> tuple[str, ...]:
    """How a line may show a value, or the beginning of a long one."""
    if not value:
        return ("''", "an empty argument")
    if value == ESCAPE:
        return (ESCAPE[-6:],)
    plain = value.encode("ascii", "backslashreplace").decode()
    names = [plain[:20], repr(value)[1:20]]
    if "/" in value.strip("/"):
        # the folder that cannot hold it
        names.append(f" {value[:20].rpartition('/')[0]}")
    return tuple(names)


def name_of(action: argparse.Action) -> str:
    """--option, or the name of a positional argument."""
    return action.option_strings[-1] if action.option_strings else action.dest


def subcommands(tool: str) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a command: of each subcommand, or its own under ""."""
    parser = importlib.import_module(tool).build_parser()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {"": parser}


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Its options and positional arguments, without --help and --version."""
    ends = (argparse._HelpAction, argparse._VersionAction)
    return [action for action in parser._actions if not isinstance(action, ends)]


def _with_value(
    words: list[str], parser: argparse.ArgumentParser, action: argparse.Action, value: str
) -> list[str]:
    """A good line in which one value is another."""
    if not action.option_strings:
        positionals = [other for other in options(parser) if not other.option_strings]
        first = 1 if words and words[0] == parser.prog.split()[-1] else 0
        place = first + positionals.index(action)
        after = words[place:]
        if after and not after[0].startswith("--"):
            after = after[1:]
        return [*words[:place], value, *after]
    replaced = {name_of(action)}
    for group in parser._mutually_exclusive_groups:
        if action in group._group_actions:
            replaced |= {name_of(other) for other in group._group_actions}
    kept: list[str] = []
    drop = False
    for word in words:
        if word.startswith("--"):
            drop = word in replaced
        if not drop:
            kept.append(word)
    return [*kept, f"{name_of(action)}={value}"]


class HungError(BaseException):
    """A row did not end."""


@contextlib.contextmanager
def _ends() -> Iterator[None]:
    """Raise where the block waits for ever."""

    def end(*_: object) -> None:
        raise HungError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class WorkFolder:
    """The folder in which a table's rows run, home of its user; made once, and again if changed."""

    def __init__(self, table: Table, folder: Path) -> None:
        self.table, self.folder = table, folder
        self._prepare()

    def _prepare(self) -> None:
        self.folder.mkdir()
        special_files(self.folder)
        self.table.prepare(self.folder)
        self.before = snapshot(self.folder)

    def check(self, row: Row) -> None:
        """Run a row; fails where it does not end as it should, or changes the folder."""
        home = str(self.folder)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": home,
            "XDG_CONFIG_HOME": f"{home}/config",
            "XDG_CACHE_HOME": f"{home}/cache",
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "80",
            # matplotlib keeps a list of fonts
            "MPLCONFIGDIR": str(self.folder.with_name("matplotlib")),
            **self.table.environment,
            **dict(row.environment),
        }
        try:
            with _ends():
                result = run_command(self.table.tool, *row.words, cwd=self.folder, env=environment)
        finally:
            after = snapshot(self.folder)
            changes = sorted(after.items() ^ self.before.items())
            if changes:
                shutil.rmtree(self.folder)
                self._prepare()
        said = result.stdout + result.stderr
        assert result.returncode == row.code, f"exit {result.returncode}, not {row.code}: {said}"
        assert not changes, f"{changes[:5]} changed: {said}"
        assert not _CONTROL.search(said), f"control characters: {said!r}"
        line = the_line(result.stderr)
        assert any(name in line for name in row.names), f"none of {row.names} in: {line}"


def the_line(stderr: str) -> str:
    """The one line that says what is wrong; argparse prints how to use the command before it."""
    lines = []
    for line in stderr.splitlines():
        if not line.startswith(("usage: ", " ", "warning: ")):
            lines.append(line)
    assert len(lines) == 1, f"{len(lines)} lines: {stderr}"
    assert "error: " in lines[0], f"no error: {stderr}"
    return lines[0]


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: kind, mode and content.

    A file's content is told by its inode, size and time of writing; a folder's is its entries.
    """
    entries: dict[str, tuple[object, ...]] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            status = path.lstat()
            entry: tuple[object, ...] = (status.st_mode,)
            if stat.S_ISREG(status.st_mode):
                entry = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns)
            elif stat.S_ISLNK(status.st_mode):
                entry = (status.st_mode, str(path.readlink()))
            entries[str(path.relative_to(folder))] = entry
    return entries
