"""Throughput of `bins.py split` and `cat`, which verify, against `split` and `cat`, which do not.

The aim is at least 0.8 of theirs. Each is a whole process, timed until its output is on the disk:
ours syncs by itself, theirs is followed by `sync`. Inputs are in the page cache in every case. On a
disk ours can be faster, since it starts writing back while it copies; on a tmpfs (--folder
/dev/shm), where nothing waits for a disk, hashing costs most. Rates are GB/s of the .bin. Each
figure is the median over the rounds, and so is each ratio, since a busy machine slows both sides of
a round alike. Needs three times --gb of disk, and more memory than that.

    python tests/bench/bench_bins.py                                  2 GB in 40 parts, six rounds
    python tests/bench/bench_bins.py --gb 8 --folder /scratch/me
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).resolve().parents[2]
_TOOL = shlex.join([sys.executable, str(_ROOT / "tools" / "bins.py")])
_PARTS = 40
_REST_S = 1.0
_DOCUMENT_TOKENS = 1000


def write_pair(prefix: Path, gigabytes: float) -> None:
    """Documents of 1,000 uint16 ids each; random, so that no file system can shrink them."""
    sys.path.insert(0, str(_ROOT / "tools"))
    from encore.tokens.indexed import IndexedWriter

    rng = np.random.default_rng(0)
    with IndexedWriter(prefix, "<u2") as writer:
        for _ in range(round(gigabytes * 1e3 / 20)):
            ids = rng.integers(0, 50257, 10_000 * _DOCUMENT_TOKENS, np.uint16)
            writer.add_batch(ids, np.full(10_000, _DOCUMENT_TOKENS))


def timed(command: str, cwd: Path) -> float:
    """Seconds that a shell command takes, once earlier writes are on the disk."""
    os.sync()
    time.sleep(_REST_S)
    start = time.perf_counter()
    subprocess.run(command, shell=True, cwd=cwd, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def remove(folder: Path, *patterns: str) -> None:
    """Remove files, only once both sides were timed: a disk is busy with that for a while."""
    for pattern in patterns:
        for path in list(folder.glob(pattern)):
            path.unlink()


def one_round(folder: Path, turn: int) -> dict[str, float]:
    """Seconds of each; who goes first changes with the turn."""
    split = {
        "split": f"split -n {_PARTS} x.bin theirs. && sync theirs.*",
        "bins.py split": f"{_TOOL} split x --parts {_PARTS}",
    }
    cat = {"cat": "cat x.bin.* > theirs && sync theirs", "bins.py cat": f"{_TOOL} cat x"}
    seconds = {}
    for commands in (split, cat):
        for name in sorted(commands, reverse=bool(turn % 2)):
            seconds[name] = timed(commands[name], folder)
        remove(
            folder, "theirs*", *(["x.bin"] if commands is split else ["x.bin.*", "x.parts.json"])
        )
    return seconds


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=2, help="size of the .bin")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument(
        "--folder", type=Path, help="where to write; default: the folder for temporary files"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        write_pair(Path(name) / "x", args.gb)
        os.sync()
        size = (Path(name) / "x.bin").stat().st_size / 1e9
        rounds = [one_round(Path(name), turn) for turn in range(args.rounds)]
    for plain in ("split", "cat"):
        ours = f"bins.py {plain}"
        rates = {
            key: statistics.median(size / each[key] for each in rounds) for key in (plain, ours)
        }
        ratio = statistics.median(each[plain] / each[ours] for each in rounds)
        print(
            f"{plain:5} {rates[plain]:5.2f} GB/s    {ours:13} {rates[ours]:5.2f} GB/s"
            f"    ratio {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
