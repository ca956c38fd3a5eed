"""The doctor asks Slurm about the script that the same arguments render."""

import os
from pathlib import Path

import pytest
from helpers.commands import run_command

ROOT = Path(__file__).resolve().parents[2]
# what the queue check asks, answered as Slurm does; sbatch keeps the script that it was asked about
SLURM = {
    "sinfo": 'echo "standard-g|up|2-00:00:00|2978"',
    "sacctmgr": "echo project_1",
    "sbatch": 'cat > "$ASKED"; echo "sbatch: Job 1 to start at 2030-01-01T00:00:00" >&2',
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, answer in SLURM.items():
        (programs / name).write_text(f"#!/bin/sh\n{answer}\n")
        (programs / name).chmod(0o755)
    return os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "ASKED": str(tmp_path / "asked.sh"),
        "XDG_CONFIG_HOME": str(tmp_path),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--time", "03:00:00"),
        ("--trainer", "deepspeedai"),
        ("--as-released",),
        ("--objective", "ul2"),
        ("--nodes", "2", "--set", "lr=1.0e-4", "launch=torchrun"),
        ("--params", "146m", "--tokens", "14b", "--unique", "400m"),
    ],
)
def test_the_script_that_slurm_is_asked_about_is_the_one_that_render_prints(
    arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    words = ["146m14b400m", "--cluster", "lumi", "--account", "project_1", *arguments]
    skip = ["--skip", "runtime", "image", "data", "tokenizer", "space", "hub"]
    doctor = run_command("doctor", *words, *skip, env=environment)
    assert "Job 1 to start at" in doctor.stdout, doctor.stderr
    rendered = run_command("render_sbatch", *words, "--quiet", env=environment)
    assert rendered.returncode == 0, rendered.stderr
    assert Path(environment["ASKED"]).read_text() == rendered.stdout


@pytest.mark.parametrize(("qos", "mark"), [("boost_qos_dbg", "✓"), ("boost_qos_lprod", "✗")])
def test_the_doctor_asks_whether_the_account_may_use_the_qos(
    qos: str, mark: str, environment: dict[str, str], tmp_path: Path
) -> None:
    sacctmgr = tmp_path / "bin" / "sacctmgr"
    sacctmgr.write_text(
        "#!/bin/sh\ncase $* in *format=qos) echo normal,boost_qos_dbg;; *) echo p;; esac\n"
    )
    words = ["146m14b400m", "--cluster", "leonardo", "--account", "p", "--set", f"qos={qos}"]
    skip = ["--skip", "runtime", "image", "data", "tokenizer", "space", "hub"]
    doctor = run_command("doctor", *words, *skip, env=environment)
    (line,) = [line for line in doctor.stdout.splitlines() if line.split()[1:2] == ["qos"]]
    assert qos in line
    assert line.startswith(mark), doctor.stdout
    assert f"#SBATCH --qos={qos}\n" in (tmp_path / "asked.sh").read_text()
