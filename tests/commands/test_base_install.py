"""Every command on the base install: help and usage errors work, a missing extra is one line."""

import json
import os
import shutil
import subprocess
import venv
from importlib import metadata
from pathlib import Path

import pytest
from encore import kit

pytestmark = pytest.mark.slow

# what pyproject.toml's base installs
_BASE = ("PyYAML", "Jinja2", "MarkupSafe")
TOOLS = sorted((kit.ROOT / "tools").glob("*.py"))


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter of its own environment, which has the base dependencies and nothing else."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    for name in _BASE:
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if ".." not in file.parts}:
            (packages / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())
    return home / "bin" / "python"


def run(python: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"XDG_CONFIG_HOME": str(cwd)}
    command = [str(python), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_bare_environment_lacks_what_is_optional(bare_python: Path, tmp_path: Path) -> None:
    for name in ("torch", "numpy", "tqdm", "huggingface_hub"):
        assert run(bare_python, "-c", f"import {name}", cwd=tmp_path).returncode == 1
    assert run(bare_python, "-c", "import yaml, jinja2", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_help_works_and_a_wrong_option_is_one_line(
    tool: Path, bare_python: Path, tmp_path: Path
) -> None:
    shown = run(bare_python, str(tool), "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "examples:" in shown.stdout and f"tools/{tool.name}" in shown.stdout
    wrong = run(bare_python, str(tool), "--no-such-option", cwd=tmp_path)
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr, wrong.stderr


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ("data", "bins.py info x"),
        ("data", "prepare_corpus.py subset a.jsonl --samples 1 --output b.jsonl"),
        ("analysis", "export_tensorboard.py . --out x.csv"),
        ("convert", "convert_checkpoint.py to-transformers x y"),
        ("convert", "sample_text.py x --tokenizer gpt2"),
        ("hub", "hub.py pull 146m14b400m --dry-run"),
        ("train", "pretrain_gpt.py --num-layers 1 --hidden-size 8 --num-attention-heads 1"
         " --seq-length 8 --max-position-embeddings 8 --micro-batch-size 1 --train-samples 1"
         " --lr 1 --min-lr 0 --lr-decay-style constant --vocab-file vocab.json"
         " --merge-file merges.txt --train-weighted-split-paths-path t.txt"
         " --valid-weighted-split-paths-path v.txt"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_one_line_that_names_it(
    extra: str, line: str, bare_python: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    for file in ("t.txt", "v.txt"):
        (tmp_path / file).write_text('"a: 1 0:1 x"\n')
    tool, *words = line.split()
    ended = run(bare_python, str(kit.ROOT / "tools" / tool), *words, cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    (error,) = [text for text in ended.stderr.splitlines() if text.startswith("error: ")]
    assert error.endswith(f"is not installed; in the kit's folder: pip install -e '.[{extra}]'")
    assert "Traceback" not in ended.stderr


def test_pruning_needs_the_base_alone(bare_python: Path, tmp_path: Path) -> None:
    """The genuine checkpoints: one whole, one without its optimizer, one torn."""
    for step, run_of in ((10, "tp1"), (20, "tp2"), (30, "tp1")):
        source = kit.ROOT / "tests" / "data" / "megatron_tiny" / run_of / "checkpoint"
        shutil.copytree(source / "global_step20", tmp_path / f"global_step{step}")
    torn = tmp_path / "global_step30" / "layer_03-model_00-model_states.pt"
    torn.write_bytes(torn.read_bytes()[:1000])
    tool = str(kit.ROOT / "tools" / "prune_checkpoints.py")
    ended = run(bare_python, tool, ".", "--idle", "0", "--json", "--delete", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    states = {entry["step"]: entry["state"] for entry in json.loads(ended.stdout)}
    assert states == {10: "whole", 20: "weights only", 30: "torn"}
    assert {path.name for path in tmp_path.iterdir()} == {"global_step10", "global_step20"}


def test_rendering_needs_the_base_alone(bare_python: Path, tmp_path: Path) -> None:
    tool = str(kit.ROOT / "tools" / "render_sbatch.py")
    ended = run(bare_python, tool, "146m14b400m", "--cluster", "lumi", cwd=tmp_path)
    assert ended.returncode == 0 and ended.stdout.startswith("#!/"), ended.stderr
