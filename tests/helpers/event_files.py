"""Event files for tests, and the scalars of one according to TensorBoard's protobuf classes."""

import struct
from collections.abc import Iterable
from pathlib import Path

from encore.curves.tfrecord import masked_crc32c
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.util import tensor_util

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny" / "tp1" / "tensorboard"

Scalar = tuple[float, int, str, float]  # wall time, step, tag, value


def record(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    length_checksum = struct.pack("<I", masked_crc32c(length))
    payload_checksum = struct.pack("<I", masked_crc32c(payload))
    return length + length_checksum + payload + payload_checksum


def simple(time: float, step: int, tag: str, value: float) -> bytes:
    return Event(
        wall_time=time,
        step=step,
        summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]),
    ).SerializeToString()


def write(path: Path, payloads: Iterable[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(record, payloads)))
    return path


def write_scalars(path: Path, scalars: Iterable[Scalar]) -> Path:
    return write(path, (simple(*scalar) for scalar in scalars))


def by_protobuf(payloads: Iterable[bytes]) -> list[Scalar]:
    """The scalars of events: simple values, and one-number tensors of the scalars plugin."""
    scalars: list[Scalar] = []
    plugins: dict[str, str] = {}
    for payload in payloads:
        event = Event.FromString(payload)
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "simple_value":
                scalars.append((event.wall_time, event.step, value.tag, value.simple_value))
            elif kind == "tensor" and value.tensor.dtype in (1, 2, 3, 9, 19):
                array = tensor_util.make_ndarray(value.tensor)
                plugin = value.metadata.plugin_data.plugin_name or plugins.get(value.tag)
                if array.size == 1 and plugin == "scalars":
                    plugins[value.tag] = plugin
                    scalars.append((event.wall_time, event.step, value.tag, float(array.item())))
    return scalars
