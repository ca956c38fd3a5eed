"""Rate of comparing a checkpoint's bytes with their checksums, beside `python -m zipfile -t`.

The aim: 1 GB/s and more. Every rate is of files that are in the page cache, and is printed three
times.

    python tests/bench/bench_checksums.py           a checkpoint of 600 MB
    python tests/bench/bench_checksums.py --mb 4000
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "tools")]

from encore.checkpoints import torch_zip  # noqa: E402

_FILES = 4
_MATRICES = 6


def write(folder: Path, size_mb: int) -> list[Path]:
    """Files of random bf16 matrices, as layer files are."""
    import torch

    rows = size_mb * 1_000_000 // (_FILES * _MATRICES * 2 * 1024)
    paths = []
    for number in range(_FILES):
        path = folder / f"layer_{number:02d}-model_00-model_states.pt"
        weights = {}
        for index in range(_MATRICES):
            weights[f"{index}.weight"] = torch.randn(rows, 1024).to(torch.bfloat16)
        torch.save(weights, path)
        paths.append(path)
    return paths


def peer(path: Path) -> None:
    """Python's own test of a zip file, in a process of its own."""
    command = [sys.executable, "-m", "zipfile", "-t", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def rate(check: Callable[[Path], None], paths: list[Path]) -> float:
    """GB/s over all files."""
    start = time.perf_counter()
    for path in paths:
        check(path)
    seconds = time.perf_counter() - start
    return sum(path.stat().st_size for path in paths) / 1e9 / seconds


def main() -> None:
    """Write the files, check them, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=int, default=600, help="bytes of all files; default: 600")
    size_mb = parser.parse_args().mb
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), size_mb)
        for _ in range(3):
            for path in paths:
                # another time of change: the same file is not compared twice
                path.touch()
            ours = rate(torch_zip.check, paths)
            theirs = rate(peer, paths)
            print(
                f"ours {ours:5.2f} GB/s   python -m zipfile -t {theirs:5.2f} GB/s"
                f"   ratio {ours / theirs:.2f}"
            )


if __name__ == "__main__":
    main()
