"""The parts of a large .bin: their names, which are GNU split's, and the manifest of the parts.

    PREFIX.bin.aa, PREFIX.bin.ab, …     the parts, in the order of their names
    PREFIX.parts.json                   their sizes and hashes; GNU split writes none

`split --number` makes every suffix as long as the last one needs; `split --bytes` and `--lines`
start with two letters and grow: yz is followed by zaaa, zyzz by zzaaaa. With -d, digits take the
place of letters. Source: GNU coreutils 9.1, split.c; the tests compare with the program.
"""

import itertools
import json
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encore import __version__, files, strict_json
from encore.errors import DataError
from encore.tokens.indexed import bin_path

_ALPHABETS = (string.ascii_lowercase, string.digits)
_SUFFIX = r"\.([a-z]+|[0-9]+)"
_HASH = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class BinPart:
    """A part: its file name, its size, and its XXH3 as hex, where known."""

    name: str
    bytes: int
    xxh3_128: str | None = None


def manifest_path(prefix: Path) -> Path:
    """The path of the manifest of parts."""
    # not PREFIX.bin.json: people pass PREFIX.bin.* to cat
    return Path(f"{prefix}.parts.json")


def names(prefix: Path, count: int) -> list[str]:
    """The names that `split --number=count` gives to its files."""
    width = 2
    while len(string.ascii_lowercase) ** width < count:
        width += 1
    suffixes = itertools.islice(_suffixes(string.ascii_lowercase, width, False), count)
    return [f"{bin_path(prefix).name}.{suffix}" for suffix in suffixes]


def _suffixes(alphabet: str, width: int, growing: bool) -> Iterator[str]:
    """All suffixes in split's order: of one width, or growing from it."""
    last = alphabet[-1]
    levels: Iterable[int] = range(1)
    if growing:
        levels = itertools.count()
    for level in levels:
        for letters in itertools.product(alphabet, repeat=width + level):
            # suffixes that begin with the last letter belong to the next level, which is longer
            if growing and letters[0] == last:
                break
            yield last * level + "".join(letters)


def find(prefix: Path) -> list[BinPart]:
    """The parts beside `prefix`, in order. Raises DataError for a missing first or inner part."""
    target = bin_path(prefix)
    suffixes = _suffixes_beside(target)
    alphabet, width = _first_suffix(target, suffixes)
    # only a growing suffix reaches zaaa, and only from two letters
    growing = width == 2 and alphabet[-1] + alphabet[0] * 3 in suffixes
    expected = _suffixes(alphabet, width, growing)
    ordered = []
    for suffix in expected:
        if suffix not in suffixes:
            missing = suffix
            break
        ordered.append(suffix)
    else:
        # every suffix of that width exists, so that none can follow
        missing = ""
    beyond = []
    for suffix in suffixes:
        same_set = suffix[0] in alphabet and (growing or len(suffix) == width)
        if same_set and suffix > ordered[-1]:
            beyond.append(suffix)
    if beyond:
        raise DataError(
            f"{target}.{missing} does not exist, {target.name}.{min(beyond)} does",
            f"fetch {target.name}.{missing}",
        )
    parts = []
    for suffix in ordered:
        path = target.with_name(f"{target.name}.{suffix}")
        parts.append(BinPart(path.name, path.stat().st_size))
    return parts


def _first_suffix(target: Path, suffixes: set[str]) -> tuple[str, int]:
    """Alphabet and width of the one set of parts: each set begins with aa…a or 00…0."""
    firsts = []
    for alphabet in _ALPHABETS:
        for suffix in suffixes:
            if not suffix.strip(alphabet[0]):
                firsts.append((alphabet, len(suffix)))
    if not firsts:
        raise DataError(
            f"{target}.aa does not exist",
            "give the prefix that the parts' names have before .bin.aa",
        )
    if len(firsts) > 1:
        names = sorted(f"{target.name}.{alphabet[0] * width}" for alphabet, width in firsts)
        raise DataError(
            f"{target.parent} holds two sets of parts, from {' and '.join(names)} on",
            "move one of the sets to another folder",
        )
    return firsts[0]


def _suffixes_beside(target: Path) -> set[str]:
    """The suffixes of the files that could be parts of `target`."""
    if not target.parent.is_dir():
        return set()
    pattern = re.compile(re.escape(target.name) + _SUFFIX)
    suffixes = set()
    for entry in target.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match is not None and entry.is_file():
            suffixes.add(match[1])
    return suffixes


def present(prefix: Path) -> set[str]:
    """The names of all files that could be parts of `prefix`."""
    target = bin_path(prefix)
    return {f"{target.name}.{suffix}" for suffix in _suffixes_beside(target)}


def write_manifest(prefix: Path, parts: Iterable[BinPart]) -> None:
    """Write PREFIX.parts.json."""
    _write(manifest_path(prefix), {"kit": f"encore {__version__}"}, parts)


def read_manifest(prefix: Path) -> list[BinPart] | None:
    """The parts that PREFIX.parts.json lists, None where there is no file.

    Raises DataError for a file that cannot be read or that `write_manifest` cannot have written.
    """
    path = manifest_path(prefix)
    hint = f"fetch {path.name} again, or remove it to join unchecked"
    try:
        return _parse(strict_json.read(path), prefix)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint) from None
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{path} is not a list of parts", hint) from None


def write_journal(path: Path, parts: Iterable[BinPart], finished: int) -> None:
    """Record which parts a run works on, and how many of them are finished."""
    _write(path, {"done": finished}, parts)


def read_journal(path: Path, prefix: Path) -> tuple[list[BinPart], int]:
    """The parts in the journal of a killed run, and how many are finished; none without one."""
    try:
        raw = strict_json.read(path)
        return _parse(raw, prefix), int(raw["done"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return [], 0


def _write(path: Path, head: dict[str, Any], parts: Iterable[BinPart]) -> None:
    content = head | {"parts": list(map(asdict, parts))}
    files.write_text(path, json.dumps(content, indent=2) + "\n")


def _parse(raw: Any, prefix: Path) -> list[BinPart]:
    """The parts in a JSON object; raises ValueError, TypeError or KeyError for anything else."""
    pattern = re.compile(re.escape(bin_path(prefix).name) + _SUFFIX)
    parts = []
    names = set()
    for item in raw["parts"]:
        part = BinPart(item["name"], item["bytes"], item["xxh3_128"])
        # another name could lead out of the folder
        if not pattern.fullmatch(part.name) or part.name in names:
            raise ValueError(part.name)
        # JSON's true is an int to isinstance
        if type(part.bytes) is not int or part.bytes < 0:
            raise ValueError(part.bytes)
        if part.xxh3_128 is not None and not _HASH.fullmatch(part.xxh3_128):
            raise ValueError(part.xxh3_128)
        parts.append(part)
        names.add(part.name)
    if not parts:
        raise ValueError("no parts")
    return parts
