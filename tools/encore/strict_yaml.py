"""Strict YAML: a file becomes frozen dataclasses, or one error that names the file, the line and what is valid.

Refused: unknown, missing and duplicate keys; a value of another type (a number that YAML reads as a string, `3e-4`;
a time that YAML reads as a number, `48:00:00` unquoted); anything but plain scalars, lists and mappings.
A record that stands under a key, or that is a whole file, takes the key or the file's stem as its field `name`.
"""

import dataclasses
import datetime
import functools
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


class _Loader(_Base):
    def construct_mapping_strictly(self, node: yaml.MappingNode) -> _Mapping:
        mapping = _Mapping()
        mapping.lines = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in mapping:
                raise RegistryError(f"{self.name}:{line}: key {key!r} stands twice", "keep one of them")
            mapping[key] = self.construct_object(value_node, deep=True)
            mapping.lines[key] = line
        return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _Loader.construct_mapping_strictly)


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
    base_path = path.with_name(f"{name}.yml")
    if not isinstance(name, str) or not name.replace("-", "").isalnum() or not base_path.is_file():
        raise RegistryError(f"{path}:{line}: extends {name!r}, which is not a file beside it", "name a sibling's stem")
    base = _parse(base_path)
    if not isinstance(base, _Mapping) or "extends" in base:
        raise RegistryError(f"{path}:{line}: {base_path} cannot be extended", "extend a file that extends nothing")
    for key in base.keys() - value.keys():
        value[key] = base[key]
        value.lines[key] = line
    return value


def _parse(path: Path) -> Any:
    try:
        with open(path, encoding="utf-8") as stream:
            return yaml.load(stream, Loader=_Loader)
    except FileNotFoundError:
        raise RegistryError(f"{path}: no such file", "check the path") from None
    except UnicodeDecodeError as error:
        raise RegistryError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})", "save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RegistryError(f"{where}: not valid YAML: {problem}", "mend that line") from None


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
        if not isinstance(value, list):
            raise _mistyped(value, "a list", path, line, key)
        return tuple(_build(item, arguments[0], path, line, f"{key}[{i}]") for i, item in enumerate(value))
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
            f"{path}:{value.lines[unknown]}: unknown key {unknown!r}", f"valid keys: {', '.join(sorted(fields))}"
        )
    missing = [field for field, (_, required) in fields.items() if required and field not in value]
    if missing:
        raise RegistryError(
            f"{path}:{line}: missing key{'s' * (len(missing) > 1)} {', '.join(missing)}"
            + (f" in {key}" if key else ""),
            "add " + ("them" if len(missing) > 1 else "it"),
        )
    built = {
        field: _build(item, fields[field][0], path, value.lines[field], f"{key}.{field}" if key else field)
        for field, item in value.items()
    }
    try:
        return record(**given, **built)
    except ValueError as error:  # what a record's own __post_init__ finds wrong
        raise RegistryError(f"{path}:{line}: {key + ': ' if key else ''}{error}", "mend the value") from None


def _build_scalar(value: Any, wanted: Any, path: str, line: int, key: str) -> Any:
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is datetime.date and type(value) is datetime.date:
        return value
    if type(value) is not wanted:
        raise _mistyped(
            value,
            {str: "text", int: "a whole number", float: "a number"}.get(wanted, str(wanted.__name__)),
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
        hint = f'quote it: "{value}" (YAML reads 48:00:00, yes and 0644 as other types)'
    return RegistryError(f"{path}:{line}: {key or 'the file'} must be {wanted}, not {value!r}", hint)
