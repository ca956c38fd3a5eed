"""One TensorBoard event read field by field: the scalars in it, and where their bytes lie.

It reads protobuf's wire format itself, because protobuf's own classes do not tell where in the
bytes a value is.
source: tensorboard/compat/proto/{event,summary,tensor,types}.proto;
https://protobuf.dev/programming-guides/encoding/
"""

import dataclasses
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_VARINT = 0
_I64 = 1
_LEN = 2
_I32 = 5
# TensorProto.tensor_content: the bytes of all numbers, as TensorFlow 2 writes them
_TENSOR_CONTENT = 4


class _TensorType(NamedTuple):
    """How a TensorProto holds numbers: as `dtype` in tensor_content, or in a field of its own.

    bfloat16, which numpy lacks, is read as its bits.
    """

    dtype: str
    field: int
    wire_type: int


_BFLOAT16 = 14
# by the number of the type in types.proto
_TENSOR_TYPES = {
    1: _TensorType("<f4", 5, _I32),
    2: _TensorType("<f8", 6, _I64),
    3: _TensorType("<i4", 7, _VARINT),
    9: _TensorType("<i8", 10, _VARINT),
    _BFLOAT16: _TensorType("<u2", 13, _VARINT),
    19: _TensorType("<f2", 13, _VARINT),
}


@dataclass(frozen=True)
class Scalar:
    """A value of a tag; its bytes are data[start:end] as `dtype`, which is empty for a varint.

    plugin: the plugin's name in the metadata, empty without. simple: the event itself calls it a
    scalar (simple_value).
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
    """Seconds since the epoch, the step, and the summary's scalars; `lone` if it has one value."""

    wall_time: float
    step: int
    scalars: tuple[Scalar, ...]
    lone: bool


class _Field(NamedTuple):
    """A field of a message: its number and wire type, and its content as data[start:end]."""

    number: int
    wire_type: int
    start: int
    end: int


def event(data: bytes, start: int, end: int) -> Event:
    """Read data[start:end]; raises ValueError where it is not an event."""
    wall_time = 0.0
    step = 0
    scalars = []
    value_count = 0
    for field in _fields(data, start, end):
        key = (field.number, field.wire_type)
        # Event: wall_time is field 1, step 2, summary 5; Summary: value is field 1
        if key == (1, _I64):
            (wall_time,) = struct.unpack_from("<d", data, field.start)
        elif key == (2, _VARINT):
            step = _signed(_varint(data, field.start, field.end)[0])
        elif key == (5, _LEN):
            for value in _submessages(data, field, 1):
                value_count += 1
                scalar = _scalar(data, value)
                if scalar is not None:
                    scalars.append(scalar)
    return Event(wall_time, step, tuple(scalars), value_count == 1)


def is_one_summary(data: bytes, start: int, end: int) -> bool:
    """Whether data[start:end] is an event's summary and no other field of it."""
    fields = list(_fields(data, start, end))
    return len(fields) == 1 and fields[0][:2] == (5, _LEN)


def _scalar(data: bytes, message: _Field) -> Scalar | None:
    """A Summary.Value; None for a histogram, a text, an image, … or a tensor of several numbers."""
    tag = ""
    plugin = ""
    scalar = None
    for field in _fields(data, message.start, message.end):
        key = (field.number, field.wire_type)
        # Summary.Value: tag is field 1, simple_value 2, tensor 8, metadata 9
        if key == (1, _LEN):
            tag = data[field.start : field.end].decode("utf-8", "replace")
        elif key == (2, _I32):
            value = _number(data, field, "<f4")
            scalar = Scalar("", value, "", True, field.start, field.end, "<f4")
        elif key == (8, _LEN):
            scalar = _tensor_scalar(data, field)
        elif key == (9, _LEN):
            plugin = _plugin_name(data, field)
        elif field.number in (3, 4, 5, 6):
            # an image, a histogram or audio: of the fields of a oneof, protobuf keeps the last
            scalar = None
    if scalar is None:
        return None
    return dataclasses.replace(scalar, tag=tag, plugin=plugin)


def _plugin_name(data: bytes, metadata: _Field) -> str:
    """SummaryMetadata.plugin_data.plugin_name."""
    for plugin_data in _submessages(data, metadata, 1):
        name = ""
        for field in _submessages(data, plugin_data, 1):
            name = data[field.start : field.end].decode("utf-8", "replace")
        return name
    return ""


def _tensor_scalar(data: bytes, message: _Field) -> Scalar | None:
    """A TensorProto of one number."""
    type_number = None
    fields = list(_fields(data, message.start, message.end))
    for field in fields:
        if field[:2] == (1, _VARINT):
            type_number, _ = _varint(data, field.start, field.end)
    if type_number not in _TENSOR_TYPES:
        return None
    tensor_type = _TENSOR_TYPES[type_number]
    scalars = []
    # an empty tensor_content stands beside the values in a field of their own
    for field in fields:
        is_content = field.number == _TENSOR_CONTENT and field.end > field.start
        if is_content or field.number == tensor_type.field:
            scalars.append(_element(data, field, tensor_type))
    if len(scalars) != 1:
        return None
    scalar = scalars[0]
    if scalar is not None and type_number == _BFLOAT16:
        # the upper half of a float32; without a place in the data, each is read field by field
        bits = np.array([int(scalar.value) << 16], np.uint32)
        return Scalar("", float(bits.view(np.float32)[0]))
    return scalar


def _element(data: bytes, field: _Field, tensor_type: _TensorType) -> Scalar | None:
    """The one number of a field of values or of tensor_content; None where it has several."""
    dtype = tensor_type.dtype
    # numbers of fixed size are packed: a field of one number has exactly its bytes
    if field.number == _TENSOR_CONTENT or tensor_type.wire_type != _VARINT:
        if field.end - field.start != np.dtype(dtype).itemsize:
            return None
        value = _number(data, field, dtype)
        return Scalar("", value, "", False, field.start, field.end, dtype)
    raw, stop = _varint(data, field.start, field.end)
    if stop != field.end:
        return None
    # half_val is the bits of a float16 as a varint, int_val and int64_val are two's complement
    bits = np.array([raw], np.uint64).astype(f"<u{np.dtype(dtype).itemsize}")
    return Scalar("", float(bits.view(dtype)[0]))


def _number(data: bytes, field: _Field, dtype: str) -> float:
    return float(np.frombuffer(data[field.start : field.end], dtype)[0])


def _submessages(data: bytes, message: _Field, number: int) -> list[_Field]:
    """The message's length-delimited fields of this number."""
    fields = _fields(data, message.start, message.end)
    return [field for field in fields if field[:2] == (number, _LEN)]


def _fields(data: bytes, start: int, end: int) -> Iterator[_Field]:
    """The fields of the message data[start:end]; raises ValueError where it is not one."""
    while start < end:
        key, at = _varint(data, start, end)
        wire_type = key & 7
        if wire_type == _VARINT:
            start = _varint(data, at, end)[1]
        elif wire_type == _LEN:
            length, at = _varint(data, at, end)
            start = at + length
        elif wire_type == _I32:
            start = at + 4
        elif wire_type == _I64:
            start = at + 8
        else:
            raise ValueError(f"wire type {wire_type}")
        if start > end:
            raise ValueError("a field is longer than its message")
        yield _Field(key >> 3, wire_type, at, start)


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """The unsigned number that begins at `start`, and where it ends."""
    value = 0
    # a varint has at most 10 bytes, of which the last gives one bit of the 64
    for shift, at in zip(range(0, 70, 7), range(start, end), strict=False):
        value |= (data[at] & 127) << shift
        if data[at] < 128:
            return value & (1 << 64) - 1, at + 1
    raise ValueError("a number does not end")


def _signed(value: int) -> int:
    """A two's complement number of 64 bits."""
    if value >> 63:
        return value - (1 << 64)
    return value
