"""One TensorBoard event read field by field: the scalars in it, and where their bytes lie.

Read straight from protobuf's wire format, since a place in the bytes is what protobuf's own classes do not tell.
source: tensorboard/compat/proto/{event,summary,tensor,types}.proto; https://protobuf.dev/programming-guides/encoding/
"""

import dataclasses
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
# TensorProto: the number of a type → its bytes in tensor_content, the field of its values, how these are encoded
_TENSOR_TYPES = {
    1: ("<f4", 5, _I32),
    2: ("<f8", 6, _I64),
    3: ("<i4", 7, _VARINT),
    9: ("<i8", 10, _VARINT),
    19: ("<f2", 13, _VARINT),
}


@dataclass(frozen=True)
class Scalar:
    """A value of a tag; its bytes are data[start:end] as `dtype`, which is empty where it is a varint.

    `plugin` is the name in the metadata, empty without; `simple` says that the event itself calls it a scalar.
    """

    tag: str
    value: float
    plugin: str = ""
    simple: bool = False
    start: int = 0
    end: int = 0
    dtype: str = ""


@dataclass(frozen=True)
class Event:
    """Seconds since the epoch, the step, and the summary's single numbers; `lone` when it has one value in all."""

    wall_time: float
    step: int
    scalars: tuple[Scalar, ...]
    lone: bool


def event(data: bytes, start: int, end: int) -> Event:
    """Read data[start:end]; raises ValueError where it is no event."""
    wall_time, step, scalars, values = 0.0, 0, [], 0
    for number, kind, at, until in _fields(data, start, end):
        if (number, kind) == (1, _I64):
            (wall_time,) = struct.unpack_from("<d", data, at)
        elif (number, kind) == (2, _VARINT):
            step = _signed(_varint(data, at, until)[0])
        elif (number, kind) == (5, _LEN):
            spans = [field for field in _fields(data, at, until) if field[:2] == (1, _LEN)]
            values += len(spans)
            scalars += [scalar for _, _, *span in spans if (scalar := _scalar(data, *span))]
    return Event(wall_time, step, tuple(scalars), values == 1)


def is_one_summary(data: bytes, start: int, end: int) -> bool:
    """Whether data[start:end] is an event's summary and no other field of it."""
    return [field[:2] for field in _fields(data, start, end)] == [(5, _LEN)]


def _scalar(data: bytes, start: int, end: int) -> Scalar | None:
    """A Summary.Value; None for a histogram, a text, an image, … and for a tensor that is not one number."""
    tag, plugin, found = "", "", None
    for number, kind, at, until in _fields(data, start, end):
        if (number, kind) == (1, _LEN):
            tag = data[at:until].decode("utf-8", "replace")
        elif (number, kind) == (2, _I32):
            found = Scalar("", _number(data, at, until, "<f4"), "", True, at, until, "<f4")
        elif (number, kind) == (8, _LEN):
            found = _tensor(data, at, until)
        elif (number, kind) == (9, _LEN):
            plugin = _plugin(data, at, until)
        elif number in (3, 4, 5, 6):
            found = None
    if found is None:
        return None
    return dataclasses.replace(found, tag=tag, plugin=plugin)


def _plugin(data: bytes, start: int, end: int) -> str:
    """SummaryMetadata.plugin_data.plugin_name."""
    for number, kind, at, until in _fields(data, start, end):
        if (number, kind) == (1, _LEN):
            names = [data[a:b] for n, k, a, b in _fields(data, at, until) if (n, k) == (1, _LEN)]
            return names[-1].decode("utf-8", "replace") if names else ""
    return ""


def _tensor(data: bytes, start: int, end: int) -> Scalar | None:
    """A TensorProto of one number."""
    fields = list(_fields(data, start, end))
    types = [
        _varint(data, at, until)[0]
        for number, kind, at, until in fields
        if (number, kind) == (1, _VARINT)
    ]
    if not types or types[-1] not in _TENSOR_TYPES:
        return None
    dtype, field, encoded = _TENSOR_TYPES[types[-1]]
    found = [
        _element(data, f, dtype, encoded)
        for f in fields
        if f[0] == field or (f[0] == 4 and f[3] > f[2])
    ]
    return found[0] if len(found) == 1 else None


def _element(
    data: bytes, field: tuple[int, int, int, int], dtype: str, encoded: int
) -> Scalar | None:
    """The one number of a field of values or of tensor_content; None when there are several."""
    number, _, at, until = field
    if number == 4 or encoded != _VARINT:
        if until - at != np.dtype(dtype).itemsize:
            return None
        return Scalar("", _number(data, at, until, dtype), "", False, at, until, dtype)
    raw, stop = _varint(data, at, until)
    if stop != until:
        return None
    value = np.array([raw], np.uint64).astype(f"<u{np.dtype(dtype).itemsize}").view(dtype)[0]
    return Scalar("", float(value))


def _number(data: bytes, start: int, end: int, dtype: str) -> float:
    return float(np.frombuffer(data[start:end], dtype)[0])


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type and place of each field's content."""
    while start < end:
        key, at = _varint(data, start, end)
        kind = key & 7
        if kind == _VARINT:
            start = _varint(data, at, end)[1]
        elif kind == _LEN:
            length, at = _varint(data, at, end)
            start = at + length
        elif kind in (_I32, _I64):
            start = at + (4 if kind == _I32 else 8)
        else:
            raise ValueError(f"wire type {kind}")
        if start > end:
            raise ValueError("a field is longer than its message")
        yield key >> 3, kind, at, start


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The unsigned number that begins at `start`, and where it ends."""
    value = 0
    for shift, at in zip(range(0, 70, 7), range(start, end), strict=False):
        value |= (data[at] & 127) << shift
        if data[at] < 128:
            return value & (1 << 64) - 1, at + 1
    raise ValueError("a number does not end")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
