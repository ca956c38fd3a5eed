"""An event's scalars are read with the place of their bytes; what is no event is refused."""

import contextlib
import struct

import numpy as np
import pytest
from encore.curves import event_proto
from helpers.event_files import simple
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto

values = st.floats(allow_nan=False)


@given(
    value=values,
    tag=st.text(),
    step=st.integers(-(1 << 63), (1 << 63) - 1),
    before=st.binary(max_size=5),
)
def test_the_bytes_of_a_value_are_where_it_is_said(
    value: float, tag: str, step: int, before: bytes
) -> None:
    tensor = TensorProto(dtype=2, double_val=[value])
    summary = Summary(value=[Summary.Value(tag=tag, tensor=tensor)])
    summary.value[0].metadata.plugin_data.plugin_name = "scalars"
    payload = Event(wall_time=2.5, step=step, summary=summary).SerializeToString()
    event = event_proto.event(before + payload + b"after", len(before), len(before) + len(payload))
    (found,) = event.scalars
    assert (event.wall_time, event.step, event.lone) == (2.5, step, True)
    assert (found.tag, found.plugin, found.value, found.simple) == (tag, "scalars", value, False)
    assert np.frombuffer((before + payload)[found.start : found.end], found.dtype)[0] == value


@given(garbage=st.binary(max_size=80))
def test_bytes_of_any_kind_are_read_or_refused(garbage: bytes) -> None:
    with contextlib.suppress(ValueError):
        event_proto.event(garbage, 0, len(garbage))


@given(cut=st.integers(1, 30))
def test_an_event_that_ends_too_early_is_refused_or_has_no_value(cut: int) -> None:
    payload = simple(1.0, 300, "loss", 2.5)
    with contextlib.suppress(ValueError):
        assert event_proto.event(payload, 0, len(payload) - cut).scalars == ()


def test_a_field_longer_than_its_message_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than its message"):
        event_proto.event(b"\x2a\x7f", 0, 2)


@pytest.mark.parametrize("value", [1.0, -2.5, 1.0078125, float("inf"), 2.0**-120])
@pytest.mark.parametrize("packed", [False, True])
def test_a_bfloat16_is_the_upper_half_of_a_float32(value: float, packed: bool) -> None:
    bits = struct.unpack("<I", struct.pack("<f", value))[0] >> 16
    tensor = TensorProto(dtype=14, half_val=[bits])
    if packed:
        tensor = TensorProto(dtype=14, tensor_content=struct.pack("<H", bits))
    summary = Summary(value=[Summary.Value(tag="a", tensor=tensor)])
    data = Event(wall_time=1.0, step=2, summary=summary).SerializeToString()
    (scalar,) = event_proto.event(data, 0, len(data)).scalars
    assert (scalar.value, scalar.dtype) == (value, "")
