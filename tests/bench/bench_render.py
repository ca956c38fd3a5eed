"""Wall time of rendering a script against that of importing its two libraries, in one run; aim: at
most 3 times.

python tests/bench/bench_render.py
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

_TOOLS = Path(__file__).resolve().parents[2] / "tools"
_ROUNDS = 15


def seconds(command: list[str]) -> float:
    """Wall time of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Interleave both commands and print the medians and their ratio."""
    imports = [sys.executable, "-c", "import yaml, jinja2"]
    render = [sys.executable, str(_TOOLS / "render_sbatch.py"), "146m14b400m", "--cluster", "lumi"]
    rounds = [(seconds(imports), seconds(render)) for _ in range(_ROUNDS + 1)][1:]
    peer, ours = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"import yaml, jinja2   {peer * 1000:6.0f} ms")
    print(f"render_sbatch.py      {ours * 1000:6.0f} ms, {ours / peer:.2f} times")


if __name__ == "__main__":
    main()
