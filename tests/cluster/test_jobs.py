"""Rendered jobs on a real Slurm, in a real container, on both nodes: training, the 16-rank launch,
the doctor.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from encore.jobs import render
from encore.plan import resolve
from encore.plan.records import Request
from encore.plan.settings import parse
from encore.plan.user_config import UserConfig
from encore.tokens import train_bpe
from encore.tokens.indexed import IndexedWriter
from helpers import cpu_image
from helpers.local_machine import LocalSlurm

NAME = "500k500k100k"
ACCOUNT = "project_465000000"


@pytest.fixture(scope="module")
def workspace(local_slurm: LocalSlurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's workspace with everything that a job needs: image, tokenizer, data, log folder."""
    folder = Path(f"/tmp/encore-jobs-{tmp_path_factory.getbasetemp().name}")
    asked = Request(NAME, "local-slurm", workspace=str(folder), settings=parse(["gpus_per_node=1"]))
    plan = resolve.resolve(asked, UserConfig())
    image = Path(plan.paths.images) / "encore-cpu.sif"
    for place in (plan.paths.images, plan.paths.logs, plan.paths.data):
        Path(place).mkdir(parents=True)
    shutil.copy(cpu_image.image(), image)
    text = folder / "text.jsonl"
    words = (cpu_image.ROOT / "README.md").read_text(encoding="utf-8")
    text.write_text(
        "".join(json.dumps({"text": line}) + "\n" for line in words.splitlines() if line)
    )
    train_bpe.train(text, Path(plan.paths.tokenizers) / "demo", 2048)
    tokens = np.random.default_rng(0).integers(0, 500, 20_000).astype(np.uint16)
    for prefix in plan.data.prefixes:
        path = Path(plan.paths.data) / prefix
        path.parent.mkdir(parents=True, exist_ok=True)
        with IndexedWriter(path, np.dtype("uint16")) as writer:
            writer.add_batch(tokens, np.full(20, 1000))
    yield local_slurm.user.own(folder)
    shutil.rmtree(folder, ignore_errors=True)


def rendered(workspace: Path, *settings: str) -> str:
    """The script of a two-node job, rendered as a user would."""
    asked = Request(
        NAME,
        "local-slurm",
        nodes=2,
        account=ACCOUNT,
        workspace=str(workspace),
        settings=parse(settings),
    )
    return render.train_script(resolve.resolve(asked, UserConfig()), "/nowhere")


def submit(local_slurm: LocalSlurm, workspace: Path, script: str) -> str:
    """Submit as the ordinary user, wait, and give the job's log; fails with the log when the job
    failed.
    """
    done = local_slurm.user.run("sbatch", "--wait", "--parsable", cwd=workspace, text=script)
    log = workspace / "logs" / f"{NAME}-{done.stdout.strip()}.log"
    said = (
        log.read_text(encoding="utf-8", errors="replace") if log.is_file() else f"no log at {log}"
    )
    assert done.returncode == 0, f"{done.stderr}\n{said[-3000:]}"
    return said


def test_two_nodes_train_and_resume_in_the_container(
    local_slurm: LocalSlurm, workspace: Path
) -> None:
    script = rendered(
        workspace, "gpus_per_node=1", "train_samples=80", "save_interval=20", "log_interval=5"
    )
    said = submit(local_slurm, workspace, script)
    assert re.search(r"job \d+ on nid\[005001-005002\], restart 0, master nid005001:1\d{4}", said)
    losses = [float(loss) for loss in re.findall(r"lm loss: (\S+)", said)]
    assert losses[-1] < losses[0]
    checkpoints = workspace / "checkpoints" / NAME
    assert (checkpoints / "latest").read_text() == "global_step40"
    assert len(list((checkpoints / "global_step40").glob("zero_pp_rank_*"))) == 2
    assert list((workspace / "tensorboard" / NAME).glob("events.out.tfevents.*"))
    # as if the job had been killed after step 20
    shutil.rmtree(checkpoints / "global_step40")
    (checkpoints / "latest").write_text("global_step20")
    again = submit(local_slurm, workspace, script)
    assert re.findall(r"iteration +(\d+)/ +40", again)[0] == "25"
    assert re.findall(r"lm loss: (\S+)", again) == re.findall(r"lm loss: (\S+)", said)[4:]


def test_torchrun_starts_a_rank_per_device_on_both_nodes(
    local_slurm: LocalSlurm, workspace: Path
) -> None:
    shutil.rmtree(workspace / "checkpoints", ignore_errors=True)
    script = rendered(workspace, "gpus_per_node=1", "train_samples=20", "launch=torchrun")
    submit(local_slurm, workspace, script)
    assert (workspace / "checkpoints" / NAME / "latest").read_text() == "global_step10"


def test_the_doctor_finds_sixteen_bound_ranks_that_sum_right(
    local_slurm: LocalSlurm, workspace: Path
) -> None:
    options = [
        "--cluster",
        "local-slurm",
        "--nodes",
        "2",
        "--account",
        ACCOUNT,
        "--workspace",
        workspace,
    ]
    command = [cpu_image.python(), cpu_image.kit() / "tools" / "doctor.py", NAME, *options]
    done = local_slurm.user.run(
        *command, "--set", "global_batch_size=16", "--job", cwd=workspace, HF_HUB_OFFLINE="1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("16 of 16 reported", "nid005001, nid005002", "sums are right"):
        assert line in done.stdout


def test_a_job_without_its_data_ends_at_once_and_names_it(
    local_slurm: LocalSlurm, workspace: Path
) -> None:
    script = rendered(workspace, "gpus_per_node=1").replace("pydocs_100K", "pydocs_999K")
    done = local_slurm.user.run("sbatch", "--wait", "--parsable", cwd=workspace, text=script)
    said = (workspace / "logs" / f"{NAME}-{done.stdout.strip()}.log").read_text()
    assert done.returncode == 1
    assert "pydocs_999K_text_document.bin is missing or empty" in said


def test_an_account_that_does_not_exist_is_refused_before_the_queue(
    local_slurm: LocalSlurm, workspace: Path
) -> None:
    script = rendered(workspace, "gpus_per_node=1").replace(ACCOUNT, "project_nobody")
    done = local_slurm.user.run("sbatch", "--test-only", cwd=workspace, text=script)
    assert done.returncode != 0 and "Invalid account" in done.stderr
