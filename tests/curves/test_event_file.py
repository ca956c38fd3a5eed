"""Event files are read as TensorBoard reads them: both encodings of scalars, among others."""

from pathlib import Path

import numpy as np
import pytest
from encore.curves import event_file
from helpers.event_files import GENUINE, Scalar, by_protobuf, record, simple, write
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.util import tensor_util

numbers = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0])
tags = st.sampled_from(
    ["", "a", "b", "loss", "lm-loss-training/lm loss", "lm-loss-training/lm los2", "x" * 150, "ünï"]
)
steps = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 300)
times = st.floats(allow_nan=False)


@st.composite
def tensors(draw: st.DrawFn) -> TensorProto:
    kind = draw(st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.float16]))
    if draw(st.booleans()):
        array = np.array(draw(st.lists(st.integers(0, 100), min_size=1, max_size=3)), kind)
    else:
        array = np.array(draw(st.integers(0, 1000)), kind)
    proto = tensor_util.make_tensor_proto(array)
    if draw(st.booleans()):  # as TensorFlow 2 writes it
        proto = TensorProto(
            dtype=proto.dtype, tensor_shape=proto.tensor_shape, tensor_content=array.tobytes()
        )
    return proto


@st.composite
def values(draw: st.DrawFn) -> Summary.Value:
    value = Summary.Value(tag=draw(tags), node_name=draw(st.sampled_from(["", "node"])))
    kind = draw(
        st.sampled_from(
            ["simple", "simple", "scalars", "scalars", "no plugin", "text", "histogram"]
        )
    )
    if kind == "simple":
        value.simple_value = draw(numbers)
    elif kind == "histogram":
        value.histo.CopyFrom(
            HistogramProto(min=0, max=draw(numbers), bucket=[1.0, 2.0], bucket_limit=[1.0, 2.0])
        )
    elif kind == "text":
        value.tensor.CopyFrom(tensor_util.make_tensor_proto([draw(st.text())]))
        value.metadata.plugin_data.plugin_name = "text"
    else:
        value.tensor.CopyFrom(draw(tensors()))
        if kind == "scalars":
            value.metadata.plugin_data.plugin_name = "scalars"
            value.metadata.summary_description = draw(st.sampled_from(["", "d", "a description"]))
    return value


@st.composite
def payloads(draw: st.DrawFn) -> list[bytes]:
    """Events as they come: the same few forms again and again, among others."""
    forms = draw(st.lists(st.lists(values(), min_size=1, max_size=2), min_size=1, max_size=6))
    written = [Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString()]
    for _ in range(draw(st.integers(0, 30))):
        event = Event(step=draw(steps), summary=Summary(value=draw(st.sampled_from(forms))))
        if draw(st.integers(0, 9)):
            event.wall_time = draw(times)
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                value.simple_value = draw(numbers)
        if draw(st.integers(0, 4)):
            written.append(event.SerializeToString())
        else:  # fields in another order are the same event, and so is the same again
            fields = [
                {"summary": event.summary},
                {"step": event.step % 3},
                {"wall_time": event.wall_time},
            ]
            parts = [Event(**part).SerializeToString() for part in draw(st.permutations(fields))]
            written += [b"".join(parts)] * draw(st.integers(1, 3))
    return written


def rows(file: event_file.EventFile) -> dict[str, list[tuple[float, int, float]]]:
    return {
        tag: list(zip(s.times_s.tolist(), s.steps.tolist(), s.values.tolist(), strict=True))
        for tag, s in file.series.items()
    }


def by_tag(scalars: list[Scalar]) -> dict[str, list[tuple[float, int, float]]]:
    found: dict[str, list[tuple[float, int, float]]] = {}
    for time, step, tag, value in scalars:
        found.setdefault(tag, []).append((time, step, value))
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events") / "events.out.tfevents.1.host"


@given(
    written=payloads(),
    block_bytes=st.sampled_from([1, 500, 1 << 20]),
    learn=st.sampled_from([1, 3, 256]),
)
def test_scalars_are_those_that_protobuf_reads(
    path: Path, written: list[bytes], block_bytes: int, learn: int
) -> None:
    write(path, written)
    with pytest.MonkeyPatch.context() as patch:
        # so that forms are recognised in files as small as these
        patch.setattr(event_file, "_LEARN", learn)
        file = event_file.read(path, block_bytes)
    assert file.damage is None
    # repr: NaN is itself, -0.0 is not 0.0
    assert repr(rows(file)) == repr(by_tag(by_protobuf(written)))


def test_forms_that_differ_in_one_byte_anywhere_are_told_apart(path: Path) -> None:
    tag = "lm-loss-training/lm loss vs tokens"
    similar = [tag[:i] + "~" + tag[i + 1 :] for i in range(len(tag))]
    written = [
        simple(1.0, step, name, float(i))
        for step in range(1, 30)
        for i, name in enumerate([tag, *similar])
    ]
    assert len(written) > 3 * event_file._LEARN
    assert rows(event_file.read(write(path, written))) == by_tag(by_protobuf(written))


def test_a_genuine_megatron_run_is_read_as_tensorboard_reads_it() -> None:
    accumulator = EventAccumulator(str(GENUINE), size_guidance={"tensors": 0})
    accumulator.Reload()
    expected = {
        tag: [
            (e.wall_time, e.step, float(tensor_util.make_ndarray(e.tensor_proto)))
            for e in accumulator.Tensors(tag)
        ]
        for tag in accumulator.Tags()["tensors"]
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    }
    assert len(expected) == 36
    (file,) = GENUINE.iterdir()
    assert rows(event_file.read(file)) == expected


def test_what_torch_writes_is_read_as_tensorboard_reads_it(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(300):
            writer.add_scalar("old style", step / 3, step)
            writer.add_scalar("new style", step / 7, step, new_style=True)
            writer.add_scalar("double", step / 9, step, new_style=True, double_precision=True)
            if step % 50 == 0:
                writer.add_text("text", "words", step)
                writer.add_histogram("histogram", np.arange(step + 2), step)
    accumulator = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    (file,) = tmp_path.iterdir()
    series = event_file.read(file).series
    assert list(series) == ["old style", "new style", "double"]
    old_style = [event.value for event in accumulator.Scalars("old style")]
    assert series["old style"].values.tolist() == old_style
    for tag in ("new style", "double"):
        expected = [
            tensor_util.make_ndarray(event.tensor_proto).item()
            for event in accumulator.Tensors(tag)
        ]
        assert series[tag].values.tolist() == expected
        assert series[tag].steps.tolist() == list(range(300))
    assert series["double"].values[8] == 8 / 9


def test_a_record_that_is_no_event_ends_the_file(path: Path) -> None:
    good = [simple(1.0, step, "loss", 2.0) for step in range(5)]
    write(path, [*good, b"\xff" * 30, simple(1.0, 6, "loss", 2.0)])
    file = event_file.read(path)
    assert file.series["loss"].steps.tolist() == [0, 1, 2, 3, 4]
    assert file.damage and file.damage.offset == sum(len(record(payload)) for payload in good)
    assert file.damage.reason == "a record is not an event"


@given(garbage=st.lists(st.binary(max_size=60), max_size=5))
def test_records_of_anything_are_read_without_failing(path: Path, garbage: list[bytes]) -> None:
    file = event_file.read(write(path, [simple(1.0, 1, "loss", 2.0), *garbage]))
    assert file.series["loss"].values[0] == 2.0


def test_an_empty_file_holds_nothing(path: Path) -> None:
    path.write_bytes(b"")
    assert event_file.read(path) == event_file.EventFile({}, None)
