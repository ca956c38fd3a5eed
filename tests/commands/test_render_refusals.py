"""What the trainer would refuse in the queue is refused when its job is rendered."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pretrain_gpt
import pytest
from encore.plan import settings
from encore.train import arguments
from helpers.commands import run_command
from helpers.trainer_lines import TINY

NAME = "500k500k100k"
HUGE = "1" + "0" * 400
HOSTILE = [
    *("", " ", "0", "1", "2", "-1", "5", "0.5", "1.5", "0.9999999999999999", "1e-300", "1e300"),
    *("1e999", "nan", "inf", "-inf", HUGE, f"-{HUGE}", "9" * 5000, "2147483648", "4294967296"),
    *("1_0", "0x10", "٣", "²", "1e6", "true", "false", "None", "single", "tasks", "torchrun"),
    *(
        "a b",
        "a\nb",
        "a'b",
        "$(id)",
        "../x",
        "ｓｍａｌｌ",
        "é",
        "--lr",
        "cpu",
        "rocm",
        "gpu",
        "x" * 300,
    ),
]


pytestmark = pytest.mark.slow


def render(*arguments: object) -> subprocess.CompletedProcess[str]:
    home = {"XDG_CONFIG_HOME": "/nonexistent", "SLURM_CONF": "/nonexistent"}
    return run_command("render_sbatch", *arguments, "--quiet", env=os.environ | home)


def assert_refused(ended: subprocess.CompletedProcess[str], what: str) -> None:
    """One line that names what is wrong, and no script."""
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("warning: ")]
    assert ended.returncode == 2 and ended.stdout == "", what
    assert len(lines) == 1 and lines[0].startswith("error: "), ended.stderr
    assert len(lines[0]) < 500, what


def trainer_words(script: str) -> list[str]:
    """The trainer's arguments in a rendered script."""
    block = script[script.index("ARGS=(") + 6 : script.index("\n)\n", script.index("ARGS=("))]
    return shlex.split(block)


def assert_trainer_accepts(script: str) -> None:
    """The built-in trainer's own parser takes the script's arguments, with a vocabulary there."""
    words = trainer_words(script)
    words[words.index("--vocab-file") + 1] = str(TINY / "vocab.json")
    ranks = re.search(r"--nproc_per_node=(\d+)", script)
    world_size = int(ranks[1]) if ranks else 1
    arguments.parse(pretrain_gpt.build_parser(), words, world_size)


@pytest.mark.parametrize("key", settings.KEYS)
def test_each_value_of_a_setting_is_refused_or_suits_the_trainer(key: str, tmp_path: Path) -> None:
    for value in HOSTILE:
        assignment = f"{key}={value}"
        local = ("--cluster", "local", "--workspace", tmp_path)
        ended = render(NAME, *local, "--set", assignment)
        if ended.returncode:
            assert_refused(ended, assignment)
        else:
            assert_trainer_accepts(ended.stdout)


@pytest.mark.parametrize("cluster", ["lumi", "cuda"])
@pytest.mark.parametrize("key", settings.KEYS)
def test_each_value_of_a_setting_is_refused_or_rendered(key: str, cluster: str) -> None:
    for value in HOSTILE[::2]:
        assignment = f"{key}={value}"
        ended = render("146m14b400m", "--cluster", cluster, "--account", "p", "--set", assignment)
        if ended.returncode:
            assert_refused(ended, assignment)
        else:
            # the trainer's own rules have been applied to these
            assert trainer_words(ended.stdout)


def test_a_table_of_numbers_has_both_ends_of_each_range() -> None:
    for key in settings.KEYS.values():
        if key.kind in (int, float) and not key.words:
            setting = key.setting
            assert setting.least is not None or setting.above is not None, key.name
            assert setting.most is not None or setting.below is not None, key.name


OPTIONS = [
    "--nodes",
    "--time",
    "--account",
    "--objective",
    "--trainer",
    "--workspace",
    "--params",
    "--tokens",
    "--unique",
]


@pytest.mark.parametrize("cluster", ["lumi", "local"])
@pytest.mark.parametrize("option", OPTIONS)
def test_each_value_of_an_option_is_refused_or_rendered(option: str, cluster: str) -> None:
    for value in HOSTILE:
        ended = render(NAME, "--cluster", cluster, f"{option}={value}", "--set", "gpus_per_node=1")
        if not ended.returncode:
            assert trainer_words(ended.stdout)
            continue
        assert (ended.returncode, ended.stdout) == (2, ""), f"{option}={value}"
        assert "error: " in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ("146m14b400m", "--cluster", "local", "--nodes", "2"),
        ("146m14b400m", "--cluster", "local", "--trainer", "turkunlp"),
        ("146m14b400m", "--cluster", "local", "--set", "image=cpu"),
        ("146m14b400m", "--cluster", "local", "--set", "partition=gpu"),
        ("146m14b400m", "--cluster", "lumi", "--account", "p", "--set", "image=cuda"),
        ("146m14b400m", "--cluster", "lumi", "--account", "p", "--set", "accelerator=h100"),
        ("146m14b400m", "--cluster", "lumi", "--account", "p", "--trainer", "bigscience"),
        ("146m14b400m", "--cluster", "local", "--set", "pipeline_parallel=3", "gpus_per_node=3"),
        (NAME + "seed0", "--cluster", "local"),
        (NAME + "seed" + "9" * 40, "--cluster", "local"),
        ("2b855b55bc4", "--cluster", "lumi", "--objective", "ul2", "--set", "pipeline_parallel=2"),
    ],
)
def test_what_could_not_start_there_is_refused(words: tuple[str, ...]) -> None:
    assert_refused(render(*words), shlex.join(words))


def test_a_partition_of_a_cluster_without_known_ones_is_rendered() -> None:
    ended = render("146m14b400m", "--cluster", "cuda", "--set", "partition=gpu-h100")
    assert "#SBATCH --partition=gpu-h100\n" in ended.stdout
