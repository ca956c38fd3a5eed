"""The command: script on stdout, talk on stderr, exit codes, nothing written that should not be."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import run_command

ROOT = Path(__file__).resolve().parents[2]


def render(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    home = {"XDG_CONFIG_HOME": "/nonexistent", "SLURM_CONF": "/nonexistent"}
    env = os.environ | home | environment
    return run_command("render_sbatch", *arguments, cwd=cwd, env=env)


def test_the_script_is_on_stdout_and_the_plan_on_stderr() -> None:
    ended = render("146m14b400m", "--cluster", "cuda")
    assert ended.returncode == 0
    assert ended.stdout.startswith("#!/bin/bash\n")
    assert "26,702 of 256 × 2048" in ended.stderr and "26,702 of 256 × 2048" not in ended.stdout


def test_dry_run_json_has_the_promised_keys() -> None:
    plan = json.loads(
        render("146m14b400m", "--cluster", "lumi", "--account", "p_1", "--dry-run", "--json").stdout
    )
    promised = "name parameters tokens unique_tokens epochs train_samples steps global_batch_size"
    promised += " nodes gpus trainer trainer_args data_paths gpu_hours jobs"
    assert set(promised.split()) <= set(plan)
    assert plan["data_paths"]["train400m.txt"] == (
        '"train: 1.0 0:1 /scratch/p_1/encore/data/c4_subsampled/gpt2tok_c4_en_400M_text_document"\n'
    )


def test_set_help_lists_the_keys_on_stdout_as_a_table_and_as_json() -> None:
    listed = render("146m14b400m", "--cluster", "lumi", "--set", "help", "lr=1.0e-3")
    assert listed.returncode == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("lr ")]
    assert "number > 0, ≤ 1" in line and "--set" in line
    assert line.split()[:2] == ["lr", "0.001"]
    document = render("146m14b400m", "--cluster", "lumi", "--set", "help", "--json")
    assert document.returncode == 0
    rows = {row["key"]: row for row in json.loads(document.stdout)}
    assert rows["eval_interval"]["value"] == 1000 and rows["eval_interval"]["unit"] == "steps"
    assert "#!/bin/bash" not in listed.stdout + document.stdout
    assert "--set help" in render("--help").stdout


def test_the_same_command_gives_the_same_bytes() -> None:
    assert (
        render("146m14b400m", "--cluster", "cuda").stdout
        == render("146m14b400m", "--cluster", "cuda").stdout
    )


def test_lumi_is_the_default_and_the_configuration_changes_it(tmp_path: Path) -> None:
    (tmp_path / "encore").mkdir()
    (tmp_path / "encore" / "config.yml").write_text(
        "cluster: leonardo\naccount: acc\nworkspace: /w/x\n"
    )
    guessed = render("146m14b400m", "--quiet")
    assert "LUMI-G" in guessed.stdout
    assert "no cluster configured: planning for lumi; set one with --cluster" in guessed.stderr
    configured = render("146m14b400m", XDG_CONFIG_HOME=str(tmp_path)).stdout
    assert (
        "Leonardo" in configured
        and "#SBATCH --account=acc" in configured
        and "/w/x/logs/" in configured
    )


def test_out_and_check(tmp_path: Path) -> None:
    script = tmp_path / "a job.sh"
    options = ("146m14b400m", "--cluster", "cuda", "--out", str(script))
    assert render(*options, "--check").returncode == 1
    assert not script.exists()
    assert render(*options).returncode == 0
    assert render(*options, "--check").returncode == 0
    script.write_text(script.read_text() + "# edited\n")
    assert render(*options, "--check").returncode == 1


def test_a_folder_as_the_output_is_named_in_one_line(tmp_path: Path) -> None:
    for folder in (str(tmp_path), "/"):
        ended = render("146m14b400m", "--cluster", "cuda", "--quiet", "--out", folder)
        lines = [line for line in ended.stderr.splitlines() if not line.startswith("warning")]
        assert ended.returncode == 1 and len(lines) == 1
        assert lines[0].startswith(f"error: {folder} is not a file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("147m14b400m",), 2, "unknown model label"),
        (("1b191b12b", "--cluster", "nowhere"), 2, "unknown cluster"),
        (("146m400m14b",), 2, "more than"),
        (("146m14b400m", "--account", "a b"), 2, "not a Slurm account"),
        (("146m14b400m", "--account", "x\n#SBATCH --wrap=id"), 2, "not a Slurm account"),
        (("146m14b400m", "--set", "partition=a\nrm -rf x"), 2, "partition"),
        (("146m14b400m", "--trainer", "a\nrm -rf x"), 2, "unknown trainer"),
        (("146m14b400m", "--workspace", "/tmp/$(id)"), 2, "cannot be used in a job script"),
        (("146m14b400m", "--set", "lr"), 2, "no value"),
        (("146m14b400m", "--json"), 2, "--dry-run"),
        (("146m14b400m", "--check"), 2, "--out"),
        (("146m14b400m", "--nodes", "many"), 2, "not a whole number"),
        ((), 2, "required"),
    ],
)
def test_wrong_input_is_one_clear_line_and_no_script(
    arguments: tuple[str, ...], code: int, word: str
) -> None:
    ended = render(*arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert word in ended.stderr and "Traceback" not in ended.stderr


def test_a_broken_configuration_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "encore").mkdir()
    (tmp_path / "encore" / "config.yml").write_text("cluster: lumi\ncluster: cuda\n")
    ended = render("146m14b400m", XDG_CONFIG_HOME=str(tmp_path))
    assert ended.returncode == 1 and "config.yml:2: key 'cluster' occurs twice" in ended.stderr


def test_rendering_loads_no_heavy_package() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import render_sbatch;"
        "render_sbatch.main("
        "['146m14b400m', '--cluster', 'lumi', '--quiet', '--out', '/dev/null', '--check']);"
        "heavy = {'torch', 'numpy', 'transformers', 'datasets', 'matplotlib', 'deepspeed'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "[]\n"


def test_it_runs_from_any_folder_uninstalled(tmp_path: Path) -> None:
    tool = ROOT / "tools" / "render_sbatch.py"
    command = [sys.executable, tool, "146m14b400m", "--cluster", "cuda", "--dry-run"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
