"""The whole path on real text: raw text to a trained checkpoint through the rendered script."""

import json
import re
from pathlib import Path

import pytest
from encore.curves import losses
from encore.curves.curve import moving_average
from helpers.commands import run_command
from helpers.demo_home import Demo, run_demo

NAME = "500k500k100k"


def files(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()
    }


def test_it_learns(demo: Demo) -> None:
    curve = losses.training_curve(demo.home / "demo" / "workspace" / "tensorboard" / NAME)
    (valid,) = losses.validation_curves(demo.home / "demo" / "workspace" / "tensorboard" / NAME)
    assert curve.losses[0] > 7  # a uniform guess over 2048 tokens is 7.6 nats
    assert moving_average(curve.losses, 0.9)[-1] < 5.6
    assert valid.losses[-1] < 5.8


def test_the_checkpoint_is_where_the_plan_says_and_is_the_last_step(demo: Demo) -> None:
    checkpoints = demo.home / "demo" / "workspace" / "checkpoints" / NAME
    assert (checkpoints / "latest").read_text() == "global_step976"
    assert (checkpoints / "global_step976" / "mp_rank_00_model_states.pt").is_file()


def test_it_trained_on_the_unique_tokens_of_its_name(demo: Demo) -> None:
    data = demo.home / "demo" / "workspace" / "data" / "pydocs"
    manifest = json.loads((data / "pydocs_100K_text_document.json").read_text())
    assert 100_000 <= manifest["tokens"] < 110_000


def test_it_shows_text_the_plan_against_what_was_measured_and_a_picture(demo: Demo) -> None:
    assert "The function returns" in demo.output
    assert re.search(r"^tokens/s +[\d,]+ +[\d,]+$", demo.output, re.MULTILINE)
    assert (demo.home / "demo" / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert "| bash" in demo.talk


def test_its_model_is_transformers_too_and_its_curves_are_a_page(demo: Demo) -> None:
    assert (demo.home / "demo" / "transformers" / "model.safetensors").is_file()
    assert re.search(r"^same +True$", demo.output, re.MULTILINE)
    assert "lm-loss-training/lm loss" in (demo.home / "demo" / "curves.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_the_data_alone_is_what_a_job_in_that_workspace_needs(tmp_path: Path) -> None:
    workspace = tmp_path / "encore"
    options = ("--folder", tmp_path, "--workspace", workspace, "--data-only")
    ended = run_command("run_demo", *options)
    assert ended.returncode == 0, ended.stderr
    doctor = run_command(
        *("doctor", NAME, "--cluster", "local", "--workspace", workspace),
        *("--skip", "runtime", "image", "space", "queue", "hub"),
    )
    assert doctor.returncode == 0, doctor.stdout
    assert not (workspace / "checkpoints").exists()


def test_a_second_run_reuses_what_is_there(demo: Demo) -> None:
    before = files(demo.home / "demo")
    again = run_demo(demo.home)
    assert again.returncode == 0
    after = files(demo.home / "demo")
    assert {name for name in before if before[name] != after.get(name)} <= {
        "loss.png",
        "curves.html",
    }
    assert set(after) == set(before)
