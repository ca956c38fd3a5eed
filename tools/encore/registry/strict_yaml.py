"""Strict YAML: a file becomes frozen dataclasses, or one error that names the file, the line and what is valid.

Refused: unknown, missing and duplicate keys; a value of another type; whatever YAML reads as something else than it
looks like (3e-4 as text; 48:00:00, 0644 and 0x1f as numbers of other bases; yes and off as flags); aliases, merge keys
and tags, so that a file means what it shows and nothing in it is ever executed.
A record that stands under a key, or that is a whole file, takes the key or the file's stem as its field `name`.
"""

import dataclasses
import datetime
import functools
import math
import re
import reprlib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from encore.errors import RegistryError

Record = TypeVar("Record")

# libyaml's parser where it is built in: five times faster, and rendering has to be quick
_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Mapping(dict):
    """A mapping that remembers the line of each of its keys."""

    lines: dict[Any, int]


class _Sequence(list):
    """A list that remembers the line of each of its items."""

    lines: list[int]


# more open brackets or a longer line than this is no registry file, and could nest until the parser's stack overflows
_MOST_NESTING = 5_000

_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_DECIMAL = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?")


class _Loader(_Base):
    """Builds each node once, from what it shows."""

    path: Path

    def refused(self, node: yaml.Node, problem: str, hint: str) -> RegistryError:
        return RegistryError(f"{self.path}:{node.start_mark.line + 1}: {problem}", hint)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node in self.constructed_objects or node in self.recursive_objects:
            raise self.refused(
                node, "what has an anchor (&) is used again (*)", "write it out in each place"
            )
        try:
            return super().construct_object(node, deep)
        except ValueError as error:  # 2026-02-30
            raise self.refused(
                node, f"{node.value!r}: {error}", "mend the value, or quote it if it is text"
            ) from None

    def construct_mapping_strictly(self, node: yaml.MappingNode) -> _Mapping:
        mapping = _Mapping()
        mapping.lines = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.refused(key_node, "a key is a list or a mapping", "write a word")
            key = self.construct_object(key_node, deep=True)
            if key in mapping:
                raise self.refused(key_node, f"key {key!r} stands twice", "keep one of them")
            mapping[key] = self.construct_object(value_node, deep=True)
            mapping.lines[key] = key_node.start_mark.line + 1
        return mapping

    def construct_sequence_strictly(self, node: yaml.SequenceNode) -> _Sequence:
        sequence = _Sequence(self.construct_object(item, deep=True) for item in node.value)
        sequence.lines = [item.start_mark.line + 1 for item in node.value]
        return sequence

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        if not _WHOLE.fullmatch(node.value):
            raise self.refused(
                node,
                f"YAML reads {node.value} as a number of another base",
                f'quote it if it is text: "{node.value}"',
            )
        return int(node.value)

    def construct_decimal(self, node: yaml.ScalarNode) -> float:
        value = float(node.value) if _DECIMAL.fullmatch(node.value) else math.inf
        if not math.isfinite(value):
            raise self.refused(
                node, f"{node.value} is not a finite decimal number", "write it like 3.0e-4"
            )
        return value

    def construct_flag(self, node: yaml.ScalarNode) -> bool:
        if node.value not in ("true", "false"):
            raise self.refused(
                node,
                f"YAML reads {node.value} as a flag",
                f'write true or false, or quote it: "{node.value}"',
            )
        return bool(node.value == "true")


_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _Loader.construct_mapping_strictly
)
_Loader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG, _Loader.construct_sequence_strictly
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_decimal)
_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.construct_flag)


def load(path: Path, record: type[Record]) -> Record:
    """Read `path` as one `record`, a frozen dataclass whose fields state the keys and their types.

    A file that begins with `extends: NAME` takes the top-level keys it does not state from NAME.yml beside it: one
    level, no chains.
    """
    value = _parse(path)
    if isinstance(value, _Mapping) and "extends" in value:
        value = _extended(value, path)
    return _build_record(value, record, str(path), 1, "", path.stem)


def _extended(value: _Mapping, path: Path) -> _Mapping:
    line, name = value.lines["extends"], value.pop("extends")
    siblings = {sibling.stem: sibling for sibling in path.parent.glob("*.yml")}
    if not isinstance(name, str) or name not in siblings:
        raise RegistryError(
            f"{path}:{line}: extends {name!r}, which is not a file beside it",
            "name a sibling's stem",
        )
    base_path = siblings[name]
    base = _parse(base_path)
    if not isinstance(base, _Mapping) or "extends" in base:
        raise RegistryError(
            f"{path}:{line}: {base_path} cannot be extended", "extend a file that extends nothing"
        )
    for key in base.keys() - value.keys():
        value[key] = base[key]
        value.lines[key] = line
    return value


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise RegistryError(f"{path}: no such file", "check the path") from None
    except UnicodeDecodeError as error:
        raise RegistryError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start})", "save it as UTF-8"
        ) from None
    if (
        text.count("[") + text.count("{") + max(map(len, text.splitlines()), default=0)
        > _MOST_NESTING
    ):
        raise RegistryError(
            f"{path}: too many brackets or too long a line", "split the file or the line"
        )
    try:
        loader = _Loader(text)
        loader.path = path
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RegistryError(f"{where}: not valid YAML: {problem}", "mend that line") from None
    except RecursionError:
        raise RegistryError(f"{path}: nested too deeply", "write it flat") from None


@functools.cache
def _fields(record: type) -> dict[str, tuple[Any, bool]]:
    hints = typing.get_type_hints(record)
    return {
        field.name: (
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(record)
    }


def _build(value: Any, wanted: Any, path: str, line: int, key: str) -> Any:
    """`value` as `wanted`: a dataclass, tuple[X, ...], dict[str, X], X | None, or a scalar type."""
    if dataclasses.is_dataclass(wanted):
        return _build_record(value, wanted, path, line, key, None)
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is types.UnionType or origin is typing.Union:
        if value is None:
            return None
        return _build(value, next(a for a in arguments if a is not type(None)), path, line, key)
    if origin is typing.Literal:
        if value not in arguments:
            raise _mistyped(value, f"one of {', '.join(map(str, arguments))}", path, line, key)
        return value
    if origin is tuple:
        if not isinstance(value, _Sequence):
            raise _mistyped(value, "a list", path, line, key)
        return tuple(
            _build(item, arguments[0], path, value.lines[i], f"{key}[{i}]")
            for i, item in enumerate(value)
        )
    if origin is dict:
        if not isinstance(value, _Mapping):
            raise _mistyped(value, "a mapping", path, line, key)
        return _build_dict(value, arguments, path, key)
    return _build_scalar(value, wanted, path, line, key)


def _build_dict(value: _Mapping, types_of: tuple[Any, ...], path: str, key: str) -> dict[Any, Any]:
    built = {}
    for name, item in value.items():
        line, inner = value.lines[name], f"{key}.{name}" if key else str(name)
        _build(name, types_of[0], path, line, f"key {name!r} of {key}")
        if dataclasses.is_dataclass(types_of[1]):
            built[name] = _build_record(item, types_of[1], path, line, inner, name)
        else:
            built[name] = _build(item, types_of[1], path, line, inner)
    return built


def _build_record(value: Any, record: Any, path: str, line: int, key: str, name: str | None) -> Any:
    """`value` as a dataclass; `name` fills the field of that name, where the record has one."""
    if not isinstance(value, _Mapping):
        raise _mistyped(value, "a mapping", path, line, key)
    fields = dict(_fields(record))
    given = {"name": name} if name is not None and fields.pop("name", None) else {}
    for unknown in (found for found in value if found not in fields):
        raise RegistryError(
            f"{path}:{value.lines[unknown]}: unknown key {unknown!r}",
            f"valid keys: {', '.join(sorted(fields))}",
        )
    missing = [field for field, (_, required) in fields.items() if required and field not in value]
    if missing:
        raise RegistryError(
            f"{path}:{line}: missing key{'s' * (len(missing) > 1)} {', '.join(missing)}"
            + (f" in {key}" if key else ""),
            "add " + ("them" if len(missing) > 1 else "it"),
        )
    built = {
        field: _build(
            item, fields[field][0], path, value.lines[field], f"{key}.{field}" if key else field
        )
        for field, item in value.items()
    }
    try:
        return record(**given, **built)
    except ValueError as error:  # what a record's own __post_init__ finds wrong
        raise RegistryError(
            f"{path}:{line}: {key + ': ' if key else ''}{error}", "mend the value"
        ) from None


def _build_scalar(value: Any, wanted: Any, path: str, line: int, key: str) -> Any:
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is datetime.date and type(value) is datetime.date:
        return value
    if type(value) is not wanted:
        raise _mistyped(
            value,
            {str: "text", int: "a whole number", float: "a number"}.get(
                wanted, str(wanted.__name__)
            ),
            path,
            line,
            key,
        )
    return value


def _mistyped(value: Any, wanted: str, path: str, line: int, key: str) -> RegistryError:
    hint = "write it as that"
    if isinstance(value, str) and "number" in wanted:
        hint = "write 3.0e-4 or 3.0e+10, not 3e-4 or 3e10; YAML reads the latter as text"
    elif wanted == "text":
        hint = f'quote it: "{value}"'
    return RegistryError(
        f"{path}:{line}: {key or 'the file'} must be {wanted}, not {reprlib.repr(value)}", hint
    )
