"""A job whose trainer counts steps ends before it trains another amount of data than planned."""

import argparse
import enum
import shutil
import subprocess
import sys
from collections import OrderedDict, deque
from pathlib import Path

import numpy as np
import pytest
import torch
from encore.jobs import render, resume_check
from encore.plan import resolve, settings
from encore.plan.records import Plan, Request
from encore.plan.user_config import UserConfig
from helpers.exploits import exploits
from helpers.megatron_models import write_counters
from helpers.trainer_lines import TINY, change, genuine_arguments


class Launch(enum.Enum):
    """As Megatron's arguments hold some."""

    TASKS = 1


# what the script calls, in place of Slurm and of the container: each passes its command on
_COMMANDS = {
    "scontrol": "echo localhost",
    "srun": 'while [[ $1 == -* ]]; do shift; done; exec "$@"',
    "apptainer": 'until [[ $1 == *.sif ]]; do shift; done; shift; exec "$@"',
    "python": f'if [ "$1" = -u ]; then echo TRAINS; else exec {sys.executable} "$@"; fi',
}


def genuine_line(**changes: object) -> list[str]:
    return change(genuine_arguments(), **({"load": TINY / "tp1/checkpoint"} | changes))


def test_a_genuine_checkpoint_goes_with_the_arguments_of_its_run() -> None:
    assert resume_check.refusal(genuine_line()) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"global_batch_size": 16}, "its 20 steps took 160 samples, with global_batch_size 16"),
        ({"global_batch_size": 4}, "it would be 80"),
        ({"train_samples": 320}, "its train_samples is 160, the job's 320"),
        ({"seq_length": 32}, "its seq_length is 64, the job's 32"),
        ({"seed": 1}, "its seed is 1234, the job's 1"),
    ],
)
def test_what_would_train_other_samples_is_refused(changes: dict[str, object], reason: str) -> None:
    line = resume_check.refusal(genuine_line(**changes))
    assert line.startswith(f"{TINY}/tp1/checkpoint/global_step20 cannot be resumed: ")
    assert reason in line and "; render the job with" in line and "\n" not in line


def test_whatever_else_a_checkpoint_holds_does_not_matter(tmp_path: Path) -> None:
    others = {
        "by_enum": {Launch.TASKS: 1, torch.bfloat16: 2},
        "random": np.random.get_state(),
        "ordered": OrderedDict(a=torch.Size([2]), b=torch.ones(2, dtype=torch.bfloat16)),
        "queue": deque([1, 2]),
        "set": {1, "a"},
        "path": Path("a"),
        "nested": argparse.Namespace(seed=5),
    }
    write_counters(tmp_path, 20, consumed_train_samples=160, seed=1234, **others)
    assert resume_check.refusal(genuine_line(load=tmp_path)) == ""
    assert "its seed is 1234" in resume_check.refusal(genuine_line(load=tmp_path, seed=5))


@pytest.mark.parametrize("name", list(exploits(Path("x"))))
def test_nothing_in_a_checkpoint_is_executed(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    write_counters(tmp_path, 20, consumed_train_samples=160, other=exploits(canary)[name])
    assert "\n" not in resume_check.refusal(genuine_line(load=tmp_path))
    assert not canary.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_file_that_cannot_be_read_is_refused(content: bytes, tmp_path: Path) -> None:
    write_counters(tmp_path, 20)
    (tmp_path / "global_step20/mp_rank_00_model_states.pt").write_bytes(content)
    assert "global_step20 cannot be resumed: it cannot be read: " in resume_check.refusal(
        genuine_line(load=tmp_path)
    )


def prepared_plan(workspace: Path, *overrides: str) -> Plan:
    """A plan whose inputs are there."""
    request = Request("146m14b400m", "cuda", settings=settings.parse(overrides))
    plan = resolve.resolve(request, UserConfig(workspace=str(workspace)))
    paths = [Path(plan.paths.images) / str(plan.software.image and plan.software.image.file)]
    for file in ("vocab.json", "merges.txt"):
        paths.append(Path(plan.paths.tokenizers) / plan.data.tokenizer.name / file)
    for prefix in plan.data.prefixes:
        paths += [Path(f"{plan.paths.data}/{prefix}.{ending}") for ending in ("bin", "idx")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return plan


def run(plan: Plan, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a plan's script without Slurm."""
    folder.mkdir(exist_ok=True)
    for name, command in _COMMANDS.items():
        (folder / name).write_text(f"#!/bin/bash\n{command}\n")
        (folder / name).chmod(0o755)
    variables = {
        "PATH": f"{folder}:{Path(str(shutil.which('bash'))).parent}:/usr/bin:/bin",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_PROCID": "0",
    }
    return subprocess.run(
        ["bash"],
        input=render.train_script(plan),
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_job_ends_before_it_trains_with_another_batch(tmp_path: Path) -> None:
    plan = prepared_plan(tmp_path / "w")
    batch = plan.training.global_batch_size
    assert run(plan, tmp_path / "commands").stdout.endswith("TRAINS\n")
    write_counters(
        Path(plan.paths.checkpoints),
        10,
        consumed_train_samples=10 * batch,
        train_samples=plan.training.train_samples,
    )
    assert run(plan, tmp_path / "commands").stdout.endswith("TRAINS\n")
    other = prepared_plan(tmp_path / "w", f"global_batch_size={2 * batch}")
    ended = run(other, tmp_path / "commands")
    assert ended.returncode == 1 and "TRAINS" not in ended.stdout
    assert "the trainer counts steps" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_trainer_that_counts_samples_needs_no_check() -> None:
    plan = resolve.resolve(Request("500k500k100k", "local"), UserConfig(workspace="/w"))
    assert "resume_check" not in render.train_script(plan)
