"""The parts of a large .bin: their names, which are GNU split's, and the manifest of their sizes and hashes.

    PREFIX.bin.aa, PREFIX.bin.ab, …     the parts, in the order of their names
    PREFIX.parts.json                   what they are; parts made by `split` itself have none

`split --number` makes every suffix as long as the last one needs; `split --bytes` and `--lines` start with two letters
and grow: yz is followed by zaaa, zyzz by zzaaaa. With -d there are digits instead.
Source: GNU coreutils 9.1, split.c; the tests compare with the program.
"""

import itertools
import json
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encore import __version__, files
from encore.errors import DataError
from encore.tokens.indexed import bin_path

_ALPHABETS = (string.ascii_lowercase, string.digits)
_SUFFIX = r"\.([a-z]+|[0-9]+)"
_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class BinPart:
    """A part by its file name, size in bytes, and XXH3 as hex, where that is known."""

    name: str
    bytes: int
    xxh3_128: str | None = None


def manifest_path(prefix: Path) -> Path:
    """Where the manifest of the parts of `prefix` lies; not among PREFIX.bin.*, which people pass to cat."""
    return Path(f"{prefix}.parts.json")


def names(prefix: Path, count: int) -> list[str]:
    """The names that `split --number=count` gives its files."""
    width = 2
    while len(string.ascii_lowercase) ** width < count:
        width += 1
    suffixes = itertools.islice(_suffixes(string.ascii_lowercase, width, False), count)
    return [f"{bin_path(prefix).name}.{suffix}" for suffix in suffixes]


def _suffixes(alphabet: str, width: int, growing: bool) -> Iterator[str]:
    """All suffixes in split's order, of one width or growing from there on."""
    last = alphabet[-1]
    for level in itertools.count() if growing else range(1):
        for letters in itertools.product(alphabet, repeat=width + level):
            if growing and letters[0] == last:
                break  # the next level's, which are longer
            yield last * level + "".join(letters)


def find(prefix: Path) -> list[BinPart]:
    """The parts that lie beside `prefix`, in order. Raises DataError when the first or one in between is missing."""
    target = bin_path(prefix)
    present = _present(target)
    sets = [
        (alphabet, len(s)) for alphabet in _ALPHABETS for s in present if not s.strip(alphabet[0])
    ]
    if not sets:
        raise DataError(
            f"{target}.aa does not exist",
            "give the prefix that the parts' names have before .bin.aa",
        )
    if len(sets) > 1:
        firsts = " and ".join(
            sorted(f"{target.name}.{alphabet[0] * width}" for alphabet, width in sets)
        )
        raise DataError(
            f"{target.parent} holds two sets of parts, from {firsts} on", "move one of them away"
        )
    ((alphabet, width),) = sets
    growing = width == 2 and alphabet[-1] + alphabet[0] * 3 in present
    ordered = list(itertools.takewhile(present.__contains__, _suffixes(alphabet, width, growing)))
    beyond = sorted(
        s for s in present if s > ordered[-1] and s[0] in alphabet and (growing or len(s) == width)
    )
    if beyond:
        missing = next(itertools.islice(_suffixes(alphabet, width, growing), len(ordered), None))
        raise DataError(
            f"{target}.{missing} does not exist, {target.name}.{beyond[0]} does",
            "fetch the missing part",
        )
    return [
        BinPart(f"{target.name}.{suffix}", Path(f"{target}.{suffix}").stat().st_size)
        for suffix in ordered
    ]


def _present(target: Path) -> set[str]:
    """The suffixes of what could be parts of `target`."""
    pattern = re.compile(re.escape(target.name) + _SUFFIX)
    entries = target.parent.iterdir() if target.parent.is_dir() else ()
    return {
        match[1]
        for entry in entries
        if (match := pattern.fullmatch(entry.name)) and entry.is_file()
    }


def present(prefix: Path) -> set[str]:
    """The names of all files that could be parts of `prefix`."""
    target = bin_path(prefix)
    return {f"{target.name}.{suffix}" for suffix in _present(target)}


def write_manifest(prefix: Path, parts: Iterable[BinPart]) -> None:
    """Write PREFIX.parts.json."""
    _write(manifest_path(prefix), {"kit": f"encore {__version__}"}, parts)


def read_manifest(prefix: Path) -> list[BinPart] | None:
    """What PREFIX.parts.json says, None where there is none. Raises DataError when it cannot be right."""
    path = manifest_path(prefix)
    try:
        return _read(json.loads(path.read_text(encoding="utf-8")), prefix)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        raise DataError(
            f"{path} is not a list of parts", "fetch it again, or take it away to join unchecked"
        ) from None


def write_journal(path: Path, parts: Iterable[BinPart], done: int) -> None:
    """Note which parts are worked on, and how many are done."""
    _write(path, {"done": done}, parts)


def read_journal(path: Path, prefix: Path) -> tuple[list[BinPart], int]:
    """The note that a killed run left; no parts where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return _read(found, prefix), int(found["done"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return [], 0


def _write(path: Path, head: dict[str, Any], parts: Iterable[BinPart]) -> None:
    files.write_text(
        path, json.dumps(head | {"parts": [asdict(part) for part in parts]}, indent=2) + "\n"
    )


def _read(found: Any, prefix: Path) -> list[BinPart]:
    """JSON's list of parts; raises ValueError, TypeError or KeyError for anything else."""
    parts = [BinPart(one["name"], one["bytes"], one["xxh3_128"]) for one in found["parts"]]
    pattern = re.compile(re.escape(bin_path(prefix).name) + _SUFFIX)
    for part in parts:
        if not pattern.fullmatch(part.name):  # it could lead out of the folder
            raise ValueError(part.name)
        if type(part.bytes) is not int or part.bytes < 0:
            raise ValueError(part.bytes)
        if part.xxh3_128 is not None and not _HASH.fullmatch(part.xxh3_128):
            raise ValueError(part.xxh3_128)
    if not parts or len({part.name for part in parts}) < len(parts):
        raise ValueError("no parts, or one twice")
    return parts
