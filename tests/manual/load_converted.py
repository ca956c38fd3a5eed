"""Load what tools/convert_checkpoint.py writes in the Megatron-DeepSpeed fork itself, on the CPU.

    tests/manual/load_converted.py --fork turkunlp=~/src/turku

The fork resumes the genuine run of tests/data/megatron_tiny as it is, at tensor-parallel degree 2
and at pipeline-parallel degree 2, with next to no learning rate and no dropout: the losses of its
next steps must be the genuine checkpoint's within 1e-3. From a conversion to transformers and back
it starts over, on other samples, with a similar loss. What the fork then saves is converted and
compared in turn, from its layer files and from its optimizer files. Last, the fork resumes a run of
the built-in trainer, which goes on from the same checkpoint with the same losses.

Exit code 0: all PASS; 1: a FAIL. Needs what tests/manual/train_forks.py needs.
"""

import argparse
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
from encore.checkpoints import compare, convert  # noqa: E402
from encore.checkpoints.megatron_writer import MegatronTarget  # noqa: E402
from helpers.trainer_lines import change, genuine_arguments  # noqa: E402
from train_forks import lay_out, losses  # noqa: E402

_FORK = Path("trainers") / "turkunlp-causal" / "pretrain_gpt.py"
_RUN = ROOT / "tests" / "data" / "megatron_tiny" / "tp1"
_CHANGED = {
    "--train-samples": "192",
    "--lr-decay-samples": "192",
    "--lr": "1e-9",
    "--min-lr": "0",
    "--hidden-dropout": "0",
    "--attention-dropout": "0",
    "--distributed-backend": "gloo",
}
_CASES = {
    "as it is": (1, 1),
    "tensor parallel": (2, 1),
    "pipeline parallel": (1, 2),
    "by transformers": (2, 1),
}


def copy_data(place: Path) -> None:
    """The genuine run's data, tokenizer and configuration."""
    shutil.copytree(_RUN.parent / "data", place / "data", ignore=shutil.ignore_patterns("*.npy"))
    for file in (
        _RUN.parent / "vocab.json",
        _RUN.parent / "merges.txt",
        *_RUN.glob("*.txt"),
        *_RUN.glob("*.json"),
    ):
        shutil.copy(file, place)


def prepare(case: str, place: Path) -> list[str]:
    """A folder with the run's data and the checkpoint in its new form; returns the arguments."""
    copy_data(place)
    source, target, (tensor, pipeline) = _RUN / "checkpoint", place / "checkpoint", _CASES[case]
    changed = _CHANGED | {
        "--tensor-model-parallel-size": str(tensor),
        "--pipeline-model-parallel-size": str(pipeline),
    }
    extra = ["--no-load-optim", "--no-load-rng", "--override-lr-scheduler"]
    if case == "as it is":
        shutil.copytree(source, target)
    elif case == "by transformers":
        convert.to_transformers(source, place / "hf", None, 10**9)
        convert.to_megatron(place / "hf", target, MegatronTarget(tensor, pipeline))
        extra.append("--finetune")
    else:
        convert.reshard(source, target, MegatronTarget(tensor, pipeline), None)
    # argparse takes the last of several
    return [
        *(_RUN / "args.txt").read_text().split(),
        *(text for pair in changed.items() for text in pair),
        *extra,
    ]


def train(program: Path, arguments: Sequence[str], place: Path) -> subprocess.CompletedProcess[str]:
    """Two ranks with gloo."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {
        "ENCORE_COMPAT_CPU": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
    }
    command = [*launch, str(program), *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)


def check_builtin(where: Path) -> bool:
    """Both trainers go on from the built-in trainer's checkpoint."""
    place = where / "built-in"
    place.mkdir()
    copy_data(place)
    unchanging = {"hidden_dropout": 0, "attention_dropout": 0, "distributed_backend": "gloo"}
    builtin = ROOT / "tools" / "pretrain_gpt.py"
    train(builtin, change(genuine_arguments(), exit_interval=10, **unchanging), place)
    found = []
    for program in (builtin, where / _FORK):
        arguments = change(
            genuine_arguments(),
            no_load_optim=True,
            no_load_rng=True,
            exit_interval=14,
            save=f"saved-{len(found)}",
            **unchanging,
        )
        found.append(losses(train(program, arguments, place).stdout))
    ours, theirs = found
    if len(ours) != 4 or len(theirs) != 4:
        return report(False, "built-in: both trainers go on", f"{len(ours)}, {len(theirs)} losses")
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    return report(worst <= 1e-3, "built-in: both trainers go on", f"losses differ by {worst:.1e}")


def check(case: str, where: Path, genuine: list[float]) -> list[float]:
    """Resume from one form of the checkpoint; returns the losses, none where the check fails."""
    place = where / case.replace(" ", "_")
    place.mkdir()
    done = train(where / _FORK, prepare(case, place), place)
    found = losses(done.stdout)
    if not found:
        report(
            False,
            f"{case}: the fork loads it",
            (done.stderr or done.stdout).strip().splitlines()[-1],
        )
        return []
    if case == "by transformers":  # begins at step 0, on other samples
        near = bool(genuine) and abs(found[0] - genuine[0]) < 0.3
        return (
            found
            if report(near, f"{case}: the fork loads it", f"first loss {found[0]:.3f}")
            else []
        )
    worst = max(abs(a - b) for a, b in zip(found, genuine or found, strict=True))
    passed = report(
        worst <= 1e-3, f"{case}: the fork goes on", f"{len(found)} losses, differ by {worst:.1e}"
    )
    return found if passed else []


def read_back(case: str, where: Path) -> bool:
    """Convert what the fork saved, from its layer files and from its optimizer's weights."""
    place, results = where / case.replace(" ", "_"), []
    for masters in (False, True):
        out = place / f"saved-{masters}"
        done = convert.to_transformers(
            place / "checkpoint", out, None, 10**9, from_optimizer=masters
        )
        found = compare.difference(place / "checkpoint", out, masters)
        kind = done.record["weights_from"]
        results.append(
            report(found.same, f"{case}: saved, from {kind}", f"differs by {found.relative:.1e}")
        )
    return all(results)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fork", type=fork_of, required=True, help="turkunlp=CHECKOUT")
    options = parser.parse_args(argv)
    genuine: list[float] = []
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder).resolve()
        lay_out([options.fork], where)
        for case in _CASES:
            found = check(case, where, genuine)
            genuine = genuine or found
            passed = passed and bool(found) and read_back(case, where)
        passed = check_builtin(where) and passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
