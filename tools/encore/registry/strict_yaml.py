"""Strict YAML: a file becomes frozen dataclasses, or one error naming the file, line and remedy.

Refused: unknown, missing and repeated keys; values of another type; whatever YAML reads as
something other than it looks like (3e-4 as text; 48:00:00, 0644 and 0x1f as numbers of other bases;
yes and off as flags); aliases, merge keys and tags, so that a file means what it shows and nothing
in it is executed. A record under a key, or in a file of its own, gets that key or the file's stem
as its field `name`. Raises RegistryError.
"""

import dataclasses
import functools
import math
import re
import reprlib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from encore.errors import RegistryError

if typing.TYPE_CHECKING:
    from yaml import SafeLoader as _BaseLoader
else:
    # libyaml's parser where PyYAML has it: five times faster, and rendering has to be quick
    _BaseLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Record = TypeVar("Record")

# No registry file has more open brackets or a longer line. Both parsers recurse with each level,
# and libyaml's C stack overflows without an exception.
_NESTING_LIMIT = 5_000

# as many as every number of 64 bits may have
_MOST_DIGITS = 18

_TAG = "tag:yaml.org,2002:"
# what each tag may stand before; PyYAML's constructors take that for granted
_NODE_KINDS: dict[str, type[yaml.Node]] = dict.fromkeys(
    ("str", "int", "float", "bool", "null", "timestamp", "binary", "value", "merge"),
    yaml.ScalarNode,
)
_NODE_KINDS |= dict.fromkeys(("map", "set"), yaml.MappingNode)
_NODE_KINDS |= dict.fromkeys(("seq", "omap", "pairs"), yaml.SequenceNode)

_WHOLE_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_DECIMAL_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?")


class _Mapping(dict[Any, Any]):
    """A mapping that remembers the line of each of its keys."""

    lines: dict[Any, int]


class _Sequence(list[Any]):
    """A list that remembers the line of each of its items."""

    lines: list[int]


class _Loader(_BaseLoader):
    """PyYAML's loader with constructors that refuse what reads otherwise than it looks.

    Each node is built once, so that an alias shows.
    """

    path: Path

    def refused(self, node: yaml.Node, problem: str, hint: str) -> RegistryError:
        return RegistryError(f"{self.path}:{node.start_mark.line + 1}: {problem}", hint)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        # an alias is the anchor's own node, met a second time
        if node in self.constructed_objects or node in self.recursive_objects:
            raise self.refused(
                node, "an anchor (&) is used again (*)", "write it out in each place"
            )
        kind = _NODE_KINDS.get(node.tag.removeprefix(_TAG), yaml.Node)
        if not isinstance(node, kind):
            raise self.refused(node, f"the tag {node.tag!r} is of another value", "remove it")
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # 2026-02-30
            raise self.refused(
                node, f"{node.value!r}: {error}", "fix the value, or quote it if it is text"
            ) from None

    def construct_strict_mapping(self, node: yaml.MappingNode) -> _Mapping:
        mapping = _Mapping()
        mapping.lines = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.refused(key_node, "a key is a list or a mapping", "write a word")
            key = self.construct_object(key_node, deep=True)
            if key in mapping:
                raise self.refused(key_node, f"key {key!r} occurs twice", "delete one of them")
            mapping[key] = self.construct_object(value_node, deep=True)
            mapping.lines[key] = key_node.start_mark.line + 1
        return mapping

    def construct_strict_sequence(self, node: yaml.SequenceNode) -> _Sequence:
        sequence = _Sequence()
        sequence.lines = []
        for item in node.value:
            sequence.append(self.construct_object(item, deep=True))
            sequence.lines.append(item.start_mark.line + 1)
        return sequence

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        if not _WHOLE_NUMBER.fullmatch(node.value):
            raise self.refused(
                node,
                f"YAML reads {node.value} as a number of another base",
                f'quote it if it is text: "{node.value}"',
            )
        if len(node.value) > _MOST_DIGITS:
            raise self.refused(
                node, f"a number of {len(node.value)} digits", f"{_MOST_DIGITS} are the most"
            )
        return int(node.value)

    def construct_decimal_number(self, node: yaml.ScalarNode) -> float:
        value = math.inf
        if _DECIMAL_NUMBER.fullmatch(node.value):
            value = float(node.value)
        if not math.isfinite(value):
            raise self.refused(
                node, f"{node.value} is not a finite decimal number", "write it like 3.0e-4"
            )
        return value

    def construct_date(self, node: yaml.ScalarNode) -> Any:
        if not self.timestamp_regexp.match(node.value):
            raise self.refused(node, f"{node.value!r} is not a date", "remove its tag")
        return self.construct_yaml_timestamp(node)

    def construct_flag(self, node: yaml.ScalarNode) -> bool:
        if node.value not in ("true", "false"):
            raise self.refused(
                node,
                f"YAML reads {node.value} as a flag",
                f'write true or false, or quote it: "{node.value}"',
            )
        return bool(node.value == "true")


def _use(tag: str, constructor: Callable[[Any, Any], Any]) -> None:
    _Loader.add_constructor(f"{_TAG}{tag}", constructor)


_use("map", _Loader.construct_strict_mapping)
_use("seq", _Loader.construct_strict_sequence)
_use("int", _Loader.construct_whole_number)
_use("float", _Loader.construct_decimal_number)
_use("timestamp", _Loader.construct_date)
_use("bool", _Loader.construct_flag)


def load(path: Path, record: type[Record]) -> Record:
    """Read `path` as one `record`, a frozen dataclass whose fields are its keys and their types.

    With `extends: NAME` the top-level keys that the file does not state come from NAME.yml beside
    it, which may not extend another.
    """
    value = _parse(path)
    if isinstance(value, _Mapping) and "extends" in value:
        value = _extend(value, path)
    result: Record = _build_record(value, record, _Place(str(path), 1, ""), path.stem)
    return result


def _extend(value: _Mapping, path: Path) -> _Mapping:
    """`value` with the keys that it lacks from the file that it extends."""
    name = value.pop("extends")
    line = value.lines["extends"]
    siblings = {sibling.stem: sibling for sibling in path.parent.glob("*.yml")}
    if not isinstance(name, str) or name not in siblings:
        raise RegistryError(
            f"{path}:{line}: extends {name!r}, which is not a file beside it",
            f"valid: {', '.join(sorted(siblings))}",
        )
    base = _parse(siblings[name])
    if not isinstance(base, _Mapping) or "extends" in base:
        raise RegistryError(
            f"{path}:{line}: {siblings[name]} cannot be extended",
            "extend a file that extends nothing",
        )
    for key in base.keys() - value.keys():
        value[key] = base[key]
        # errors in what is inherited point at `extends:`, the file's own part in them
        value.lines[key] = line
    return value


def _parse(path: Path) -> Any:
    try:
        # -sig: editors on Windows begin a file with a byte order mark
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RegistryError(f"{path}: no such file", f"see what is in {path.parent}") from None
    except UnicodeDecodeError as error:
        raise RegistryError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start})", "save it as UTF-8"
        ) from None
    brackets = text.count("[") + text.count("{")
    longest_line = max(map(len, text.splitlines()), default=0)
    # a line of `- - - -` nests without brackets, as often as it is long
    if brackets + longest_line > _NESTING_LIMIT:
        raise RegistryError(
            f"{path}: too many brackets or too long a line", "split the file or the line"
        )
    try:
        loader = _Loader(text)
        loader.path = path
        return loader.get_single_data()
    except yaml.YAMLError as error:
        # a reader's error, as of a control character, has no mark
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RegistryError(f"{where}: not valid YAML: {problem}", "fix that line") from None
    except RecursionError:
        raise RegistryError(f"{path}: nested too deeply", "flatten it") from None


@dataclass(frozen=True)
class _Place:
    """Where a value stands: file, line, and its key from the top (`node.gpus`), "" for the file."""

    path: str
    line: int
    key: str

    def below(self, key: str, line: int) -> "_Place":
        """The place of a value in this one."""
        if self.key:
            key = f"{self.key}.{key}"
        return _Place(self.path, line, key)

    def item(self, index: int, line: int) -> "_Place":
        """The place of a list's item."""
        return _Place(self.path, line, f"{self.key}[{index}]")

    def mistyped(self, value: Any, kind: str) -> RegistryError:
        """The error that `value` is not of this kind."""
        hint = f"write {kind}"
        if isinstance(value, str) and "number" in kind:
            hint = "write 3.0e-4 or 3.0e+10, not 3e-4 or 3e10; YAML reads the latter as text"
        elif kind == "text":
            hint = f'quote it: "{value}"'
        what = self.key or "the file"
        return RegistryError(
            f"{self.path}:{self.line}: {what} must be {kind}, not {reprlib.repr(value)}", hint
        )


# called once per record of a file, of which there are hundreds
@functools.cache
def _fields(record: type) -> dict[str, tuple[Any, bool]]:
    """A record's fields: the type of each, and whether it is required."""
    hints = typing.get_type_hints(record)
    fields = {}
    for field in dataclasses.fields(record):
        has_default = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        fields[field.name] = (hints[field.name], not has_default)
    return fields


def _build(value: Any, kind: Any, place: _Place) -> Any:
    """`value` as a `kind`: a dataclass, tuple[X, ...], dict[str, X], X | None, or a scalar type."""
    # in a list a record has no key: its own `name:` is read
    if dataclasses.is_dataclass(kind):
        return _build_record(value, kind, place, None)
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if origin is types.UnionType or origin is typing.Union:
        if value is None:
            return None
        alternatives = [argument for argument in arguments if argument is not types.NoneType]
        return _build(value, alternatives[0], place)
    if origin is typing.Literal:
        if value not in arguments:
            raise place.mistyped(value, f"one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, _Sequence):
            raise place.mistyped(value, "a list")
        items = []
        for index, item in enumerate(value):
            items.append(_build(item, arguments[0], place.item(index, value.lines[index])))
        return tuple(items)
    if origin is dict:
        if not isinstance(value, _Mapping):
            raise place.mistyped(value, "a mapping")
        return _build_dict(value, arguments[0], arguments[1], place)
    return _build_scalar(value, kind, place)


def _build_dict(value: _Mapping, key_kind: Any, kind: Any, place: _Place) -> dict[Any, Any]:
    result = {}
    for name, item in value.items():
        line = value.lines[name]
        _build(name, key_kind, _Place(place.path, line, f"key {name!r} of {place.key}"))
        inner = place.below(str(name), line)
        if dataclasses.is_dataclass(kind):
            result[name] = _build_record(item, kind, inner, name)
        else:
            result[name] = _build(item, kind, inner)
    return result


def _build_record(value: Any, record: Any, place: _Place, name: str | None) -> Any:
    """`value` as a dataclass; `name` becomes the field of that name, where the record has one."""
    if not isinstance(value, _Mapping):
        raise place.mistyped(value, "a mapping")
    fields = dict(_fields(record))
    values = {}
    if name is not None and "name" in fields:
        values["name"] = name
        # the key is the name: the record cannot state another
        del fields["name"]
    for key in value:
        if key not in fields:
            raise RegistryError(
                f"{place.path}:{value.lines[key]}: unknown key {key!r}",
                f"valid keys: {', '.join(sorted(fields))}",
            )
    missing = []
    for key, (_, is_required) in fields.items():
        if is_required and key not in value:
            missing.append(key)
    if missing:
        raise _missing_keys(missing, place)
    for key, item in value.items():
        kind, _ = fields[key]
        values[key] = _build(item, kind, place.below(key, value.lines[key]))
    try:
        return record(**values)
    except ValueError as error:  # raised by the record's own __post_init__
        what = f"{place.key}: " if place.key else ""
        raise RegistryError(f"{place.path}:{place.line}: {what}{error}", "fix the value") from None


def _missing_keys(keys: list[str], place: _Place) -> RegistryError:
    noun = "key" if len(keys) == 1 else "keys"
    problem = f"{place.path}:{place.line}: missing {noun} {', '.join(keys)}"
    if place.key:
        problem += f" in {place.key}"
    return RegistryError(problem, f"add {', '.join(f'{key}:' for key in keys)}")


_SCALAR_KINDS = {str: "text", int: "a whole number", float: "a number"}


def _build_scalar(value: Any, kind: type, place: _Place) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    # not isinstance: True is an int, and a datetime is a date
    if type(value) is not kind:
        raise place.mistyped(value, _SCALAR_KINDS.get(kind, kind.__name__))
    return value
