"""The CPU image, built with Apptainer itself: tested, run, inspected, interrupted."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from helpers import cpu_image
from helpers.local_machine import LocalSlurm


@pytest.fixture(scope="module")
def image(local_slurm: LocalSlurm) -> Path:
    return cpu_image.image()


def test_its_record_and_inspection_say_what_it_is_made_of(image: Path) -> None:
    record = json.loads(image.with_name(f"{image.name}.json").read_text())
    assert record["base"] == str(cpu_image.BASE) and record["runtime"].startswith(
        "apptainer version "
    )
    command = (
        cpu_image.python(),
        cpu_image.kit() / "tools" / "build_image.py",
        "inspect",
        image,
        "--json",
    )
    done = cpu_image.run(*command)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["record"] == record and found["identity"]["digest"] == record["digest"]
    assert found["labels"]["org.opencontainers.image.base.digest"] == record["base_digest"]
    versions = {part["name"]: part["version"] for part in found["software"]}
    assert versions["torch"] == "2.13.0+cpu" and {
        "deepspeed",
        "lm-eval",
        "transformers",
        "python3.11",
    } <= set(versions)


def test_its_software_is_what_the_requirements_pin(image: Path) -> None:
    listed = cpu_image.run(
        "apptainer", "exec", image, "cat", "/opt/encore/software.cdx.json"
    ).stdout
    versions = {part["purl"] for part in json.loads(listed)["components"]}
    for name in ("build", "cpu-torch", "cpu"):
        text = (cpu_image.ROOT / "containers" / "requirements" / f"{name}.txt").read_text()
        for line in (line for line in text.splitlines() if "==" in line):
            package, version = line.rstrip(" \\").split("==")
            assert f"pkg:pypi/{package}@{version}" in versions


@pytest.mark.parametrize("verb", ["exec", "run"])
def test_its_python_is_python_and_runs_the_kits_trainer(image: Path, verb: str) -> None:
    trainer = "/opt/encore/trainers/builtin-causal/tools/pretrain_gpt.py"
    done = cpu_image.run("apptainer", verb, image, "python", trainer, "--help")
    assert done.returncode == 0 and "--train-weighted-split-paths-path" in done.stdout, done.stderr


def test_its_help_and_lm_eval_answer(image: Path) -> None:
    assert "--build-arg base=" in cpu_image.run("apptainer", "run-help", image).stdout
    done = cpu_image.run("apptainer", "exec", image, "lm_eval", "--help")
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr


def test_an_interrupted_build_leaves_nothing(image: Path) -> None:
    folder = image.parent
    before = sorted(path.name for path in folder.iterdir())
    process = subprocess.Popen(
        cpu_image.build_command("--tag", "interrupted"),
        cwd=cpu_image.PLACE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Running post scriptlet" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    assert process.wait(120) != 0
    after = sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))
    assert after == [name for name in before if not name.endswith(".lock")]
