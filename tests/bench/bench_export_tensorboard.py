"""Time to read event files: EventAccumulator, a loop over protobuf, rustboard and the kit.

Aim: at least 20 times as fast as EventAccumulator on 100 MB of events. The file holds what Megatron
writes at each step, encoded as torch's SummaryWriter does. EventAccumulator keeps every point
(size_guidance 0). rustboard is the loader that `tensorboard` itself starts, asked over its own
protocol until it has all points. Times are wall times without the imports; the kit's is the best of
three. A last line is the time of a page of 1,000 and of 4,000 tags: linear in their number.

    python tests/bench/bench_export_tensorboard.py             100 MB
    python tests/bench/bench_export_tensorboard.py --mb 20     a quick look
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_NAME = "events.out.tfevents.1700000000.host.1.0"

_NUMBERS = ("lm-loss-training/lm loss", "grad-norm/grad-norm", "learning-rate/learning-rate")
_AXES = ("", " vs samples", " vs tokens")
_TAGS = (
    "steps-vs-samples/y=steps,x=samples",
    "steps-vs-samples/y=samples,x=steps",
    "steps-vs-tokens/y=steps,x=tokens",
    "steps-vs-tokens/y=tokens,x=steps",
    *(number + axis for number in _NUMBERS for axis in _AXES),
    "iteration-time/TFLOPs per gpu (estimated)",
)

_ACCUMULATOR = """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
start = time.perf_counter()
events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
count = sum(len(events.Scalars(tag)) for tag in events.Tags()["scalars"])
"""

_LOOP = """
from tensorboard.compat.proto.event_pb2 import Event
start, found, count = time.perf_counter(), {}, 0
(path,) = folder.iterdir()
with open(path, "rb") as file:
    while header := file.read(12):
        event = Event.FromString(file.read(int.from_bytes(header[:8], "little")))
        file.read(4)
        for value in event.summary.value:
            point = (event.step, event.wall_time, value.simple_value)
            found.setdefault(value.tag, []).append(point)
            count += 1
"""

_RUSTBOARD = """
import subprocess, grpc, tensorboard_data_server
from tensorboard.data.proto import data_provider_pb2 as messages
from tensorboard.data.proto import data_provider_pb2_grpc as service
start, port = time.perf_counter(), folder.parent / "port"
server = subprocess.Popen([
    tensorboard_data_server.server_binary(), "--logdir", str(folder), "--port", "0",
    "--port-file", str(port), "--reload", "once", "--samples-per-plugin", "scalars=all",
])
while not (port.exists() and port.read_text().endswith("\\n")):
    time.sleep(0.005)
options = [("grpc.max_receive_message_length", 1 << 31 - 1)]
channel = grpc.insecure_channel(f"localhost:{port.read_text().strip()}", options)
stub = service.TensorBoardDataProviderStub(channel)
request = messages.ReadScalarsRequest(experiment_id="a")
request.plugin_filter.plugin_name, request.downsample.num_points, count = "scalars", 1 << 30, 0
while count < int(sys.argv[2]):
    time.sleep(0.02)
    runs = stub.ReadScalars(request).runs
    count = sum(len(tag.data.step) for run in runs for tag in run.tags)
server.kill()
"""

_OURS = f"""
sys.path.insert(0, {str(_ROOT / "tools")!r})
from encore.curves import event_file
start = time.perf_counter()
(path,) = folder.iterdir()
count = sum(len(series.steps) for series in event_file.read(path).series.values())
"""

_WHOLE = f"""
sys.path.insert(0, {str(_ROOT / "tools")!r})
from encore.curves import event_runs
start = time.perf_counter()
count = sum(map(len, event_runs.read("a", folder, fold=False).curves.values()))
"""


# argv[2] tags of 30 points, without files
_PAGE = f"""
sys.path.insert(0, {str(_ROOT / "tools")!r})
import numpy as np
from encore.curves import html_page
from encore.curves.curve import merge_event_files
from encore.curves.event_file import EventFile, Series
from encore.curves.event_runs import EventRun
from encore.curves.view import View
steps, count = np.arange(30), int(sys.argv[2])
series = {{f"layer.{{i}}/norm": Series(steps, steps / 7, 1e9 + steps) for i in range(count)}}
run = EventRun("many", merge_event_files([EventFile(series, None)]))
start = time.perf_counter()
html_page.page([run], "many", View())
"""


def write_events(path: Path, size_mb: float) -> int:
    """A file of about this size; returns how many scalars are in it."""
    sys.path.insert(0, str(_ROOT / "tests"))
    sys.path.insert(0, str(_ROOT / "tools"))
    from helpers.event_files import record, simple
    from tensorboard.compat.proto.event_pb2 import Event

    rng = random.Random(0)
    step = 0
    count = 0
    remaining = size_mb * 1e6
    with open(path, "wb") as out:
        # without it, EventAccumulator takes steps of other tags for restarts and drops points
        out.write(record(Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString()))
        while remaining > 0:
            step += 1
            for tag in _TAGS:
                place = step
                if tag.endswith("samples"):
                    place = step * 512
                elif tag.endswith("tokens"):
                    place = step * 512 * 2048
                event = record(simple(1.7e9 + step / 2, place, tag, rng.random()))
                remaining -= out.write(event)
                count += 1
    return count


def seconds(script: str, folder: Path, count: int) -> float:
    """How long a script takes to read the folder; it has to find every scalar."""
    head = "import json, sys, time\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n"
    tail = "\nprint(json.dumps([time.perf_counter() - start, count]))"
    command = [sys.executable, "-c", head + script + tail, str(folder), str(count)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    wall_s, scalars = json.loads(ended.stdout.splitlines()[-1])
    assert scalars == count, f"{scalars} scalars of {count}"
    return float(wall_s)


def main() -> None:
    """Make the file, time each reader on it, print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=float, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "run"
        folder.mkdir()
        count = write_events(folder / _NAME, args.mb)
        print(f"{(folder / _NAME).stat().st_size / 1e6:.0f} MB, {count:,} scalars")
        ours = min(seconds(_OURS, folder, count) for _ in range(3))
        rows = [
            ("event_file.read", ours),
            ("event_runs.read", seconds(_WHOLE, folder, count)),
            ("EventAccumulator", seconds(_ACCUMULATOR, folder, count)),
            ("protobuf loop", seconds(_LOOP, folder, count)),
            ("rustboard", seconds(_RUSTBOARD, folder, count)),
        ]
        for name, wall_s in rows:
            speed = f"{args.mb / wall_s:7.1f} MB/s  {wall_s / ours:6.1f} x the kit's time"
            print(f"{name:20} {wall_s:7.2f} s  {speed}")
        pages = [f"{seconds(_PAGE, folder, tags):.2f} s for {tags:,} tags" for tags in (1000, 4000)]
        print(f"{'html_page.page':20} {', '.join(pages)}")


if __name__ == "__main__":
    main()
