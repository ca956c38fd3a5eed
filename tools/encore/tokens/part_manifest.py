"""The parts of a large .bin: their names, which are GNU split's, and the manifest of the parts.

    PREFIX.bin.aa, PREFIX.bin.ab, …     the parts, in the order of their names
    PREFIX.parts.json                   their sizes and hashes; GNU split writes none

`split --number` makes every suffix as long as the last one needs; `split --bytes` and `--lines`
start with two letters and grow: yz is followed by zaaa, zyzz by zzaaaa. With -d, digits take the
place of letters, with -x hexadecimal ones; --numeric-suffixes=FROM and --hex-suffixes=FROM do not
start with 00, and do not grow. What --additional-suffix appends is not read, since a copy or a
checksum of a part is called so too. Source: GNU coreutils 9.1, split.c; the tests compare with the
program.
"""

import itertools
import json
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encore import __version__, data_file, files, strict_json
from encore.errors import DataError
from encore.tokens.indexed import bin_path, idx_path

_LETTERS = string.ascii_lowercase
_DIGITS = string.digits
_HEX_DIGITS = string.digits + "abcdef"
_SUFFIX = r"\.([a-z]+|[0-9a-f]+)"
# names that a user may take for parts: other separators, something after the suffix
_NEARLY_A_PART = r"[._-]?(?:[a-z]{2,}|[0-9a-f]+)(?:\..*)?"
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
    while len(_LETTERS) ** width < count:
        width += 1
    suffixes = itertools.islice(_counted(_LETTERS, _LETTERS[0] * width), count)
    return [f"{bin_path(prefix).name}.{suffix}" for suffix in suffixes]


def _counted(alphabet: str, first: str) -> Iterator[str]:
    """All suffixes of one width in split's order, from the first one on."""
    base = len(alphabet)
    start = 0
    for letter in first:
        start = start * base + alphabet.index(letter)
    for number in range(start, base ** len(first)):
        letters = ""
        for _ in first:
            number, place = divmod(number, base)
            letters = alphabet[place] + letters
        yield letters


def _growing(alphabet: str) -> Iterator[str]:
    """All suffixes in split's order that start with two letters and grow."""
    last = alphabet[-1]
    for level in itertools.count():
        for letters in itertools.product(alphabet, repeat=2 + level):
            # suffixes that begin with the last letter belong to the next level, which is longer
            if letters[0] == last:
                break
            yield last * level + "".join(letters)


def find(prefix: Path) -> list[BinPart]:
    """The parts beside `prefix`, in order. Raises DataError for a missing first or inner part."""
    target = bin_path(prefix)
    suffixes = _suffixes_beside(target)
    alphabet, first = _first_suffix(prefix, suffixes)
    # only a growing suffix reaches zaaa, and only from aa
    growing = first == alphabet[0] * 2 and alphabet[-1] + alphabet[0] * 3 in suffixes
    expected = _growing(alphabet) if growing else _counted(alphabet, first)
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
        same_set = set(suffix) <= set(alphabet) and (growing or len(suffix) == len(first))
        if same_set and suffix > ordered[-1]:
            beyond.append(suffix)
    if beyond:
        raise DataError(
            f"{target}.{missing} does not exist, {target.name}.{min(beyond)} does",
            f"fetch {target.name}.{missing}; or, if {target.name}.{min(beyond)} is no part, move it"
            " to another folder",
        )
    parts = []
    for suffix in ordered:
        path = target.with_name(f"{target.name}.{suffix}")
        parts.append(BinPart(path.name, data_file.check(path)))
    return parts


def _first_suffix(prefix: Path, suffixes: set[str]) -> tuple[str, str]:
    """Alphabet and first suffix of the one set of parts; raises DataError for none, or several.

    Each set begins with aa…a or 00…0, but for the numbered ones, which may begin anywhere.
    """
    target = bin_path(prefix)
    firsts = []
    later_firsts = []
    for width in sorted(set(map(len, suffixes))):
        alphabet, numbers, words = _of_width(width, suffixes)
        if numbers and min(numbers) == alphabet[0] * width:
            firsts.append((alphabet, min(numbers)))
        elif numbers and not words:
            later_firsts.append((alphabet, min(numbers)))
        if words and min(words) == _LETTERS[0] * width:
            firsts.append((_LETTERS, min(words)))
    if len(firsts) > 1 or (not firsts and len(later_firsts) > 1):
        names = sorted(f"{target.name}.{first}" for _, first in firsts or later_firsts)
        raise DataError(
            f"{target.parent} holds two sets of parts, from {' and '.join(names)} on",
            "move one of the sets to another folder",
        )
    if firsts:
        return firsts[0]
    if not later_firsts:
        raise _no_parts(target, suffixes)
    _, first = later_firsts[0]
    if not idx_path(prefix).exists():
        raise DataError(
            f"the parts of {target} are numbered from {first} on, and nothing says that none is"
            " missing before it",
            f"fetch {idx_path(prefix).name}, which states the size of the whole",
        )
    return later_firsts[0]


def _of_width(width: int, suffixes: set[str]) -> tuple[str, set[str], set[str]]:
    """The suffixes of this width: the alphabet of the numbers among them, the numbers, the words.

    Letters up to f are digits where any suffix has both.
    """
    group = {suffix for suffix in suffixes if len(suffix) == width}
    alphabet = _DIGITS
    for suffix in group:
        # a word that mixes both; files of other scripts' letters are no parts at all
        if not set(suffix).isdisjoint(_DIGITS) and not set(suffix) <= set(_DIGITS):
            alphabet = _HEX_DIGITS
    numbers = {suffix for suffix in group if set(suffix) <= set(alphabet)}
    return alphabet, numbers, group - numbers


def _no_parts(target: Path, suffixes: set[str]) -> DataError:
    """The error where there is no first part; it names a file that nearly has a part's name."""
    if suffixes:
        return DataError(
            f"{target}.aa does not exist, {target.name}.{min(suffixes)} does",
            f"fetch {target.name}.aa, or give another prefix",
        )
    pattern = re.compile(re.escape(target.name) + _NEARLY_A_PART)
    others = []
    if target.parent.is_dir():
        for entry in target.parent.iterdir():
            if pattern.fullmatch(entry.name):
                others.append(entry.name)
    if not others:
        return DataError(
            f"{target}.aa does not exist",
            "give the prefix that the parts' names have before .bin.aa",
        )
    return DataError(
        f"{target}.aa does not exist; {min(others)} does, which is not a part's name",
        f"rename such files to {target.name}.aa, .ab, …, or unpack them if they are compressed",
    )


def _suffixes_beside(target: Path) -> set[str]:
    """The suffixes of the files that could be parts of `target`."""
    if not target.parent.is_dir():
        return set()
    pattern = re.compile(re.escape(target.name) + _SUFFIX)
    suffixes = set()
    for entry in target.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match is not None and not entry.is_dir():
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
