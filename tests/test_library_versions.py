"""What the kit computes is the same with the lowest and other versions that pyproject.toml allows.

uv puts them into a folder of their own, which comes before the installed ones; torch and DeepSpeed,
which take gigabytes, stay as they are.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from encore import kit
from helpers.local_machine import not_run
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.slow
DATA = kit.ROOT / "tests" / "data"
GENUINE = DATA / "megatron_tiny"
PROJECT = tomllib.loads((kit.ROOT / "pyproject.toml").read_text())["project"]
STAY = ("torch", "deepspeed", "encore-kit", "tensorboard")
LOWEST = ("--resolution", "lowest-direct")


def declared(*extras: str) -> list[str]:
    """The requirements of these extras, but for those that stay."""
    texts = [text for extra in extras for text in PROJECT["optional-dependencies"][extra]]
    return [text for text in texts if Requirement(text).name not in STAY]


def install(folder: Path, *words: str) -> Path:
    """A folder with these packages and what they need."""
    # built from source, the oldest take minutes; of those with a wheel for this Python, the lowest
    command = [sys.executable, "-m", "uv", "pip", "install", "--only-binary", ":all:", "--quiet"]
    command += ["--python", sys.executable, "--target", str(folder), *words]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode and "Request failed" in process.stderr:
        not_run(f"no package index answers: {process.stderr[-300:]}")
    assert process.returncode == 0, process.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def lowest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    requirements = declared("data", "convert")
    return install(tmp_path_factory.mktemp("lowest"), *LOWEST, *requirements)


@pytest.fixture(scope="module")
def last_transformers_4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    requirements = [text for text in declared("convert") if text.startswith("transformers")]
    return install(tmp_path_factory.mktemp("last_4"), *requirements, "transformers<5")


def run(packages: Path, tool: str, *words: object) -> str:
    """The stdout of a command that imports these packages before the installed ones."""
    command = [sys.executable, kit.ROOT / "tools" / f"{tool}.py", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(packages)}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr[-3000:]
    return process.stdout


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("versions", ["lowest", "last_transformers_4"])
def test_a_converted_checkpoint_verifies(
    versions: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    packages = request.getfixturevalue(versions)
    step = GENUINE / "tp1" / "checkpoint" / "global_step20"
    words = ("to-transformers", step, tmp_path / "hf", "--tokenizer", GENUINE, "--verify", "--json")
    assert json.loads(run(packages, "convert_checkpoint", *words))["same"]
    words = ("to-megatron", tmp_path / "hf", tmp_path / "megatron", "--verify", "--json")
    assert json.loads(run(packages, "convert_checkpoint", *words))["same"]


def test_the_lowest_versions_write_megatrons_very_tokens(lowest: Path, tmp_path: Path) -> None:
    words = (DATA / "megatron_tool" / "hostile.jsonl", "--on-error", "skip")
    prefix = tmp_path / "gpt2"
    words += ("--tokenizer", DATA / "gpt2", "--output-prefix", prefix, "--append-eod")
    run(lowest, "prepare_corpus", "tokenize", *words)
    for suffix in (".bin", ".idx"):
        written = tmp_path / f"gpt2_text_document{suffix}"
        assert sha256(written) == sha256(DATA / "megatron_tool" / written.name)
