"""Train the Megatron-DeepSpeed forks with encore_compat on this machine's CPU; print PASS or FAIL.

    tests/manual/train_forks.py --fork turkunlp=~/src/turku --fork turkunlp:ul2=~/src/turku-ul2
    tests/manual/train_forks.py --fork turkunlp=~/src/turku --compare tests/data/megatron_tiny/tp1

--fork NAME[:OBJECTIVE]=FOLDER names a checkout of the commit that registry/trainers.yml pins. Each
is copied into a temporary folder laid out as an image's, with its data helpers compiled, and trains
two steps as an image's test does (containers/inside/check_image.py). --compare RUN repeats a
recorded run of turkunlp's causal commit, two ranks with gloo, and compares the loss of each step
with the recorded one, within 1e-3.

Exit code 0: all PASS; 1: a FAIL. Needs torch, deepspeed, tokenizers, transformers, pybind11, six
and a C++ compiler.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / "tools"),
    str(ROOT / "containers" / "inside"),
    str(ROOT / "tests" / "manual"),
]

import check_image  # noqa: E402
from check_forks import fork_of, report  # noqa: E402
from encore.registry.trainers import load_trainers  # noqa: E402

_TOLERANCE = 1e-3


def lay_out(forks: Sequence[tuple[str, str, Path]], where: Path) -> None:
    """An image's folders, and a Python that has encore_compat at its start."""
    folders = {f"{name}-{objective}": source for name, objective, source in forks}
    for folder, source in folders.items():
        shutil.copytree(
            source, where / "trainers" / folder, ignore=shutil.ignore_patterns("*.so", ".git")
        )
    (where / "trainers" / "trainers.json").write_text(
        json.dumps({folder: {} for folder in folders})
    )
    # what a .pth file does in an image, without writing into this environment
    (where / "start").mkdir()
    (where / "start" / "sitecustomize.py").write_text(
        "import encore_compat.hook\nencore_compat.hook.install()\n"
    )
    parts = [
        where / "start",
        ROOT / "containers" / "compat",
        *os.environ.get("PYTHONPATH", "").split(":"),
    ]
    os.environ["PYTHONPATH"] = ":".join(map(str, parts)).rstrip(":")
    for folder in folders:
        command = [
            sys.executable,
            "-m",
            "encore_compat.extensions",
            str(where / "trainers" / folder),
        ]
        subprocess.run(command, check=True)


def losses(log: str) -> list[float]:
    """The training loss of each step in a log."""
    return [float(loss) for loss in re.findall(r"iteration +\d+/.*?lm loss: ([0-9.E+-]+)", log)]


def compare(run: Path, where: Path) -> bool:
    """Repeat a recorded run and compare its losses."""
    place = where / "run"
    shutil.copytree(run.parent / "data", place / "data", ignore=shutil.ignore_patterns("*.npy"))
    for file in (
        run.parent / "vocab.json",
        run.parent / "merges.txt",
        *run.glob("*.txt"),
        *run.glob("*.json"),
    ):
        shutil.copy(file, place)
    arguments = [*(run / "args.txt").read_text().split(), "--distributed-backend", "gloo"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    program = where / "trainers" / "turkunlp-causal" / "pretrain_gpt.py"
    environment = os.environ | {
        "ENCORE_COMPAT_CPU": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
    }
    ended = subprocess.run(
        [*launch, str(program), *arguments],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
    )
    ours, theirs = losses(ended.stdout), losses((run / "losses.log").read_text())
    if len(ours) != len(theirs):
        return report(
            False,
            f"turkunlp causal: repeats {run}",
            (ended.stderr or ended.stdout).strip().splitlines()[-1],
        )
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    return report(
        worst <= _TOLERANCE,
        f"turkunlp causal: repeats {run}",
        f"{len(ours)} losses, differ by {worst:.1e}",
    )


def train(name: str, objective: str) -> bool:
    """Two steps of one fork."""
    trainer = load_trainers()[name]
    pin = trainer.commits[objective]
    try:
        check_image.train(
            f"{name}-{objective}", pin.entry, check_image.arguments(trainer, pin, False), False
        )
    except SystemExit as failure:
        return report(False, f"{name} {objective}", str(failure))
    return report(True, f"{name} {objective}: two steps on the CPU")


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--fork", type=fork_of, action="append", required=True, help="TRAINER[:OBJECTIVE]=CHECKOUT"
    )
    parser.add_argument("--compare", type=Path, help="a recorded run of turkunlp's causal commit")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder).resolve()
        lay_out(options.fork, where)
        check_image.TRAINERS = where / "trainers"
        results = [train(name, objective) for name, objective, _ in options.fork]
        if options.compare:
            results.append(compare(options.compare.resolve(), where))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
