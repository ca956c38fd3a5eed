"""Data-path files: the corpora that a run reads, their weights, and the range of each.

A file is one line of quoted groups, the form that Megatron-DeepSpeed's
--train/valid/test-weighted-split-paths-path reads:

    "train: 0.9 0:1 /data/c4_text_document, 0.1 0:0.95 /data/python_content_document"
    "valid: 1.0 0:1 /data/c4val_text_document" "python: 1.0 0.95:1 /data/python_content_document"

Each entry is a weight, a range of the documents as fractions, and the prefix of a .bin/.idx pair.
What Megatron-DeepSpeed refuses is refused here too, so that a file that works on one machine works
on the cluster.
Source of the grammar: TurkuNLP 6732bc9 megatron/arguments.py, parse_data_paths and
parse_data_paths_path.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encore import data_file
from encore.errors import DataError

_GROUP = '"NAME: WEIGHT START:END PREFIX, WEIGHT START:END PREFIX"'


@dataclass(frozen=True)
class WeightedPrefix:
    """One corpus of a group: its weight in the mix, and the range of its documents to read.

    start, end: fractions of the documents, 0 <= start < end <= 1.
    """

    weight: float
    start: float
    end: float
    prefix: str


@dataclass(frozen=True)
class Group:
    """A named dataset: one corpus, or several blended by weight.

    The order of `parts` matters: it decides ties in the blend.
    """

    name: str
    parts: tuple[WeightedPrefix, ...]


def read(path: Path, one_group: bool = False) -> tuple[Group, ...]:
    """The groups of a data-path file; raises DataError.

    one_group: refuse several, since training reads one. Validation reads any number.
    """
    try:
        text = data_file.read_text(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", f"write one line into it: {_GROUP}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "a data-path file is one line of UTF-8 text"
        ) from None
    groups = parse(text, str(path))
    if one_group and len(groups) > 1:
        names = ", ".join(group.name for group in groups)
        raise DataError(
            f"{path} holds {len(groups)} groups ({names}), but training reads one",
            "blend them: one name, then the corpora separated by commas",
        )
    return groups


def parse(text: str, where: str) -> tuple[Group, ...]:
    """The groups of a data-path file's whole text; `where` names the file in a DataError."""
    if not text.endswith("\n"):
        raise DataError(
            f"{where} does not end with a newline",
            "Megatron-DeepSpeed needs one after the last quote",
        )
    line = text[:-1]
    if "\n" in line:
        raise DataError(
            f"{where} must be exactly one line, with every group on it", f"write {_GROUP} {_GROUP}"
        )
    if len(line) < 2 or line[0] != '"' or line[-1] != '"':
        raise DataError(
            f"{where}: {line!r} does not begin and end with a double quote", f"write {_GROUP}"
        )
    groups = []
    names: Counter[str] = Counter()
    # Megatron-DeepSpeed splits the line at exactly this
    for quoted in line[1:-1].split('" "'):
        group = _parse_group(quoted, where)
        groups.append(group)
        names[group.name] += 1
    name, times = names.most_common(1)[0]
    if times > 1:
        raise DataError(
            f"{where}: {times} groups are named {name!r}", "give each group its own name"
        )
    return tuple(groups)


def render(groups: Sequence[Group]) -> str:
    """The text of a data-path file; raises DataError for a name that the format cannot hold."""
    rendered = []
    for group in groups:
        parts = ", ".join(map(_render_part, group.parts))
        rendered.append(f'"{group.name}: {parts}"')
    text = " ".join(rendered) + "\n"
    # what was rendered must read back as itself
    if parse(text, "the data paths") != tuple(groups):
        raise DataError(
            f"these data paths cannot be written: {text.strip()}",
            "rename files and groups whose names hold a quote, a comma or a blank",
        )
    return text


def _render_part(part: WeightedPrefix) -> str:
    start = repr(float(part.start)).removesuffix(".0")
    end = repr(float(part.end)).removesuffix(".0")
    return f"{float(part.weight)!r} {start}:{end} {part.prefix}"


def _parse_group(text: str, where: str) -> Group:
    if '"' in text:
        raise DataError(
            f"{where}: {text!r} holds a double quote",
            f"put one blank between groups: {_GROUP} {_GROUP}",
        )
    name, colon, rest = text.partition(":")
    # a slash before the first colon: the name is missing, and the colon is a range's or a path's
    if not colon or not name or name != name.strip() or "/" in name:
        raise DataError(
            f"{where}: {text!r} does not begin with a name and a colon", f"write {_GROUP}"
        )
    parts = []
    total_weight = 0.0
    for entry in rest.split(","):
        part = _parse_part(entry, name, where)
        parts.append(part)
        total_weight += part.weight
    # weights are normalized by their sum
    if total_weight <= 0:
        raise DataError(
            f"{where}: the weights of {name!r} are all zero",
            "give at least one corpus a positive weight",
        )
    return Group(name, tuple(parts))


def _parse_part(text: str, name: str, where: str) -> WeightedPrefix:
    fields = text.split()
    if len(fields) != 3:
        hint = f"write {_GROUP}"
        if len(fields) == 1:
            hint = f'write "{name}: 1.0 0:1 {fields[0]}"'
        raise DataError(
            f"{where}: {text.strip()!r} in group {name!r} is not WEIGHT START:END PREFIX", hint
        )
    weight = _number(fields[0])
    if not (math.isfinite(weight) and weight >= 0):
        raise DataError(
            f"{where}: {fields[0]!r} in group {name!r} is not a weight",
            "write a number, zero or more",
        )
    start, _, end = fields[1].partition(":")
    part = WeightedPrefix(weight, _number(start), _number(end), fields[2])
    if not 0 <= part.start < part.end <= 1:
        raise DataError(
            f"{where}: {fields[1]!r} in group {name!r} is not a range START:END with"
            " 0 <= START < END <= 1",
            "write 0:1 for all documents, 0.95:1 for the last twentieth",
        )
    return part


def _number(text: str) -> float:
    """The number that `text` spells, else NaN, which fails every range check."""
    try:
        return float(text)
    except ValueError:
        return math.nan
