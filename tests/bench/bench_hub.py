"""Throughput of `hub.py pull`, which verifies every hash, against `hf download`, which does not.

Both are whole processes against the same hub on loopback, by plain HTTP (there is no Xet storage
there); rounds are interleaved and each figure is the median. The server is Python too and shares
the machine, so that the ratio tells what verifying costs, and the rates nothing about a network.

    python tests/bench/bench_hub.py                 400 MB in four files, three rounds
    python tests/bench/bench_hub.py --mb 2000 --folder /scratch/me
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_ROOT / "tests"))
from helpers.hub_server import running  # noqa: E402

_RUN, _REPO = "146m14b400m", "datablations/lm1-misc"
_FILES = 4


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """Seconds until the command has ended and its files are on the disk."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    os.sync()
    return time.perf_counter() - start


def main() -> None:
    """Fill the hub, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=400, help="all files together; default: 400")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--folder", type=Path, help="where files go; default: the temporary folder")
    args = parser.parse_args()
    size = args.mb * 1_000_000 // _FILES
    ours = [sys.executable, str(_ROOT / "tools" / "hub.py"), "pull", _RUN, "--out", "ours"]
    theirs = [
        str(Path(sys.executable).with_name("hf")),
        "download",
        _REPO,
        "--include",
        f"{_RUN}/*",
    ]
    with running() as hub, tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        hub.add(
            _REPO,
            {
                f"{_RUN}/global_step1/{i}.pt": random.Random(i).randbytes(size)
                for i in range(_FILES)
            },
        )
        environment = os.environ | {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(folder / "home"),
        }
        seconds: dict[str, list[float]] = {"hub.py pull": [], "hf download": []}
        for _ in range(args.rounds):
            seconds["hf download"].append(
                timed([*theirs, "--local-dir", "theirs"], folder, environment)
            )
            seconds["hub.py pull"].append(timed(ours, folder, environment))
            for made in ("ours", "theirs"):
                shutil.rmtree(folder / made)
        medians = {key: statistics.median(values) for key, values in seconds.items()}
    for key, value in medians.items():
        print(f"{key:12} {value:6.2f} s  {args.mb / value:6.0f} MB/s")
    ratio = medians["hf download"] / medians["hub.py pull"]
    print(f"ratio of rates, hub.py pull to hf download: {ratio:.2f}")


if __name__ == "__main__":
    main()
