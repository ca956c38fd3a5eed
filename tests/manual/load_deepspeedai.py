"""Load what tools/convert_checkpoint.py writes for deepspeedai's fork in that fork, on the CPU.

    tests/manual/load_deepspeedai.py --fork deepspeedai=~/src/ds

The fork goes on from the genuine checkpoint of tests/data/megatron_deepspeedai as it is, at other
parallel degrees, by way of turkunlp's layout, and by way of transformers, with next to no learning
rate: its losses must be the recorded ones within 1e-5. By way of transformers the vocabulary's
padding is new, whose logits count in the loss: within 2e-3.

Exit code 0: all PASS; 1: a FAIL. Needs what tests/manual/train_forks.py needs, and einops.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests", "tests/manual")]

from check_forks import fork_of, report  # noqa: E402
from encore.checkpoints import convert  # noqa: E402
from encore.checkpoints.megatron_writer import MegatronTarget  # noqa: E402
from encore.checkpoints.trainer_format import DEEPSPEEDAI, TURKUNLP  # noqa: E402
from train_forks import lay_out, losses  # noqa: E402

_GENUINE = ROOT / "tests" / "data" / "megatron_deepspeedai"
_TINY = ROOT / "tests" / "data" / "megatron_tiny"
_CONFIGURATION = {
    "train_micro_batch_size_per_gpu": 2,
    "train_batch_size": 8,
    "gradient_clipping": 1.0,
    "zero_optimization": {"stage": 1},
}
_CHANGED = (
    "--finetune --lr 1e-12 --min-lr 0 --lr-warmup-samples 0 --train-samples 40"
    " --lr-decay-samples 40 --save saved --load checkpoint"
)
_CASES = {
    "as it is": (2, 2),
    "one rank": (1, 1),
    "four tensor ranks": (4, 1),
    "by turkunlp": (2, 1),
    "by transformers": (1, 2),
}


def prepare(case: str, place: Path) -> None:
    """A folder with data, tokenizer, configuration, and the checkpoint in its new form."""
    shutil.copytree(_TINY / "data", place / "data", ignore=shutil.ignore_patterns("*.npy"))
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(_TINY / name, place)
    (place / "ds.json").write_text(json.dumps(_CONFIGURATION))
    source = _GENUINE / "checkpoint"
    target = MegatronTarget(*_CASES[case], DEEPSPEEDAI)
    if case == "as it is":
        shutil.copytree(source, place / "checkpoint")
    elif case == "by transformers":
        convert.to_transformers(source, place / "hf", None, 10**9)
        convert.to_megatron(place / "hf", place / "checkpoint", target)
    elif case == "by turkunlp":
        convert.reshard(source, place / "between", MegatronTarget(4, 2, TURKUNLP), None)
        convert.reshard(place / "between", place / "checkpoint", target, None)
    else:
        convert.reshard(source, place / "checkpoint", target, None)


def check(case: str, where: Path) -> bool:
    """Whether the fork's losses from one form of the checkpoint are the recorded ones."""
    place = where / case.replace(" ", "_")
    place.mkdir()
    prepare(case, place)
    tensor, pipeline = _CASES[case]
    degrees = f"--tensor-model-parallel-size {tensor} --pipeline-model-parallel-size {pipeline}"
    # argparse takes the last of several
    arguments = f"{(_GENUINE / 'args.txt').read_text()} {degrees} {_CHANGED}".split()
    ranks = f"--nproc_per_node={tensor * pipeline}"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", ranks]
    program = where / "trainers" / "deepspeedai-causal" / "pretrain_gpt.py"
    environment = os.environ | {
        "ENCORE_COMPAT_CPU": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "DS_ACCELERATOR": "cpu",
    }
    command = [*launch, str(program), *arguments]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    found = losses(done.stdout)
    expected = losses((_GENUINE / "losses.log").read_text())
    if len(found) != len(expected):
        return report(False, case, (done.stderr or done.stdout).strip().splitlines()[-1])
    worst = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    tolerance = 2e-3 if case == "by transformers" else 1e-5
    return report(worst <= tolerance, case, f"{len(found)} losses, differ by {worst:.1e}")


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fork", type=fork_of, required=True, help="deepspeedai=CHECKOUT")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder).resolve()
        lay_out([options.fork], where)
        results = [check(case, where) for case in _CASES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
