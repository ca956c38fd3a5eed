"""Peak memory and rate of conversions.

The aim: at most 1.3 times the largest file of the source, and one file of the output. Each
conversion of a synthetic bf16 checkpoint runs in a process of its own, which prints its peak
(Linux's VmHWM, mapped files included) beyond what it has after its imports. Rates are MB of weights
a second, beside that of `cp` of the same bytes.

    python tests/bench/bench_convert.py             400 MB, as 1 and as 4 tensor-parallel parts
    python tests/bench/bench_convert.py --mb 3000
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "tools"), str(_ROOT / "tests")]

from encore.model.config import ModelConfig  # noqa: E402

_SHARD = 64 << 20
_MEASURED = """
import re, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from encore.checkpoints import convert, torch_file
from encore.checkpoints.megatron_writer import MegatronTarget  # noqa: E402
# what torch imports late is imported before memory is measured
torch_file.save(Path(sys.argv[5]), {"x": torch.ones(1000)})
torch_file.load(Path(sys.argv[5]), mapped=True)
def memory(kind):
    return int(re.search(kind + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
act, source, out = sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before, start = memory("VmRSS"), time.perf_counter()
if act == "to-transformers":
    convert.to_transformers(source, out, None, int(sys.argv[6]))
elif act == "to-megatron":
    convert.to_megatron(source, out, MegatronTarget(2, 1))
else:
    convert.reshard(source, out, MegatronTarget(2, 1), None)
print(memory("VmHWM") - before, time.perf_counter() - start)
"""


def shape(size_mb: int) -> ModelConfig:
    """A model of GPT-2's proportions, of about this size in bf16."""
    base = ModelConfig(12, 1024, 16, 64, 4096, 1024, 51_200)
    return replace(base, num_layers=max(1, round((size_mb * 5e5 - 51_200 * 1024) / (12 * 1024**2))))


def measure(act: str, source: Path, out: Path, scratch: Path) -> tuple[int, float]:
    """Peak bytes beyond the imports, and seconds."""
    command = [
        sys.executable,
        "-c",
        _MEASURED,
        str(_ROOT / "tools"),
        act,
        str(source),
        str(out),
        str(scratch),
    ]
    ended = subprocess.run([*command, str(_SHARD)], check=True, stdout=subprocess.PIPE, text=True)
    peak, seconds = ended.stdout.split()
    return int(peak), float(seconds)


def largest(folder: Path) -> int:
    """Bytes of its largest weight file."""
    return max(p.stat().st_size for p in folder.rglob("*") if p.suffix in (".pt", ".safetensors"))


def report(act: str, source: Path, out: Path, scratch: Path, label: str) -> None:
    """One line: peak, bound, rate."""
    peak, seconds = measure(act, source, out, scratch)
    shard = _SHARD if act == "to-transformers" else 0
    bound = 1.3 * largest(source) + max(shard, largest(out))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(
        f"{label:32} peak {peak / 1e6:6.0f} MB  bound {bound / 1e6:6.0f} MB"
        f"  ratio {peak / bound:.2f}  {size / 1e6 / seconds:5.0f} MB/s"
    )


def main() -> None:
    """Make the checkpoints, convert them, print."""
    import torch
    from helpers.megatron_models import weights, write

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--mb", type=int, default=400, help="weights of the checkpoint in bf16; default: 400"
    )
    size_mb = parser.parse_args().mb
    config = shape(size_mb)
    with tempfile.TemporaryDirectory() as folder:
        home, scratch = Path(folder), Path(folder) / "x.pt"
        layers = weights(config, dtype=torch.bfloat16)
        info = {"original_vocab_size": 50_257}
        steps = {
            tensor: write(home / f"tp{tensor}", config, layers, tensor, checkpoint_info=info)
            for tensor in (1, 4)
        }
        del layers
        start = time.perf_counter()
        shutil.copytree(steps[1], home / "copy")
        subprocess.run(["sync", "-f", str(home / "copy")], check=True)
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in steps[1].iterdir())
        print(f"{'cp and sync':32} {size / 1e6:6.0f} MB at {size / 1e6 / seconds:5.0f} MB/s")
        for tensor, step in steps.items():
            report(
                "to-transformers",
                step,
                home / f"hf{tensor}",
                scratch,
                f"tp {tensor} to transformers",
            )
            report("reshard", step, home / f"re{tensor}", scratch, f"tp {tensor} to tp 2")
        report("to-megatron", home / "hf1", home / "meg", scratch, "transformers to tp 2")


if __name__ == "__main__":
    main()
