"""Throughput of `bins.py split` and `cat`, which verify, against `split` and `cat`, which do not, in one run.

Aim: at least 0.8 of theirs. Each is a whole process, timed until its output is on the disk: ours syncs by itself, after
theirs the files are synced with `sync`. What is read is in the page cache in every case, so that nothing hides behind
a slow disk's reading; what is written goes to the disk of --folder, and on a tmpfs (/dev/shm) to memory alone, where
hashing costs most. Rates are GB/s of the .bin; rounds are interleaved, and each figure is the median of the rounds, for
a busy machine slows the parts of a round alike.

    python tests/bench/bench_bins.py                                  2 GB in 40 parts, five rounds
    python tests/bench/bench_bins.py --gb 8 --folder /scratch/me
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

_ROOT = Path(__file__).resolve().parents[2]
_TOOL = [sys.executable, str(_ROOT / "tools" / "bins.py")]
_PARTS = 40
_DOCUMENT_TOKENS = 1000


def write_pair(prefix: Path, gigabytes: float) -> None:
    """Documents of 1,000 uint16 ids each; random, so that no file system can shrink them."""
    sys.path.insert(0, str(_ROOT / "tools"))
    from encore.indexed import IndexedWriter

    rng = np.random.default_rng(0)
    with IndexedWriter(prefix, "<u2") as writer:
        for _ in range(round(gigabytes * 1e3 / 20)):
            ids = rng.integers(0, 50257, 10_000 * _DOCUMENT_TOKENS, np.uint16)
            writer.add_batch(ids, np.full(10_000, _DOCUMENT_TOKENS))


def timed(*commands: list[str] | str, cwd: Path) -> float:
    """Seconds that these take, one after the other."""
    start = time.perf_counter()
    for command in commands:
        subprocess.run(command, shell=isinstance(command, str), cwd=cwd, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def one_round(folder: Path) -> dict[str, float]:
    """Seconds of each; everything that was written is removed before the next."""
    seconds = {}
    seconds["split"] = timed(f"split -n {_PARTS} x.bin theirs.", "sync theirs.*", cwd=folder)
    for part in folder.glob("theirs.*"):
        part.unlink()
    seconds["bins.py split"] = timed([*_TOOL, "split", "x", "--parts", str(_PARTS)], cwd=folder)
    (folder / "x.bin").unlink()
    seconds["cat"] = timed("cat x.bin.* > theirs", "sync theirs", cwd=folder)
    (folder / "theirs").unlink()
    seconds["bins.py cat"] = timed([*_TOOL, "cat", "x"], cwd=folder)
    for part in (*folder.glob("x.bin.*"), folder / "x.parts.json"):
        part.unlink()
    return seconds


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=2, help="size of the .bin")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; default: the folder for temporary files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        write_pair(Path(name) / "x", args.gb)
        os.sync()
        size = (Path(name) / "x.bin").stat().st_size / 1e9
        rounds = [one_round(Path(name)) for _ in range(args.rounds)]
    for plain in ("split", "cat"):
        ours = f"bins.py {plain}"
        rates = {key: statistics.median(size / each[key] for each in rounds) for key in (plain, ours)}
        ratio = statistics.median(each[plain] / each[ours] for each in rounds)
        print(f"{plain:5} {rates[plain]:5.2f} GB/s    {ours:13} {rates[ours]:5.2f} GB/s    ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
