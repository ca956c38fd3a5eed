"""tools/build_image.py: what it refuses, each in one line; what is left when a build fails or is killed: nothing.

The runtime here is a program that writes what it is asked for, so that failing and hanging can be had at will;
tests/containers/test_cpu_image.py builds and runs the CPU image with Apptainer itself.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.sif_file import sif

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = """#!/bin/bash
# build OPTIONS... IMAGE DEFINITION: writes IMAGE, or does what $DO says
printf '%s\\n' "$@" >>"$CALLS"
case $1 in
--version) echo 'apptainer version 1.4.5' ;;
build)
  image=${*: -2:1}
  printf 'half' >"$image"
  case ${DO:-} in
  fail) echo 'FATAL: no space left on device' >&2; exit 255 ;;
  hang) touch "$CALLS.hangs"; sleep 600 ;;
  esac
  cp "$SIF" "$image" ;;
test) [ "${DO:-}" != bad ] || { echo 'error: torch does not import'; exit 1; } ;;
esac
"""


@pytest.fixture
def bench(tmp_path: Path) -> dict[str, str]:
    """An environment with a runtime, a base image and a folder of wheels."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "apptainer"
    program.write_text(RUNTIME)
    program.chmod(0o755)
    sif(tmp_path / "base.sif")
    sif(tmp_path / "built.sif", rest=b"built")
    return {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "CALLS": str(tmp_path / "calls"),
        "SIF": str(tmp_path / "built.sif"),
    }


def command(bench: dict[str, str], *options: str) -> list[str]:
    out = str(Path(bench["HOME"]) / "images")
    return [sys.executable, str(ROOT / "tools" / "build_image.py"), *options, "--out", out]


def build(bench: dict[str, str], *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Build the CPU image from the base of the bench."""
    home = bench["HOME"]
    local = ["--build-arg", f"base={home}/base.sif", "--build-arg", f"wheels={home}"]
    environment = {**bench, **more}
    return subprocess.run(
        command(bench, "cpu", *local, *options), env=environment, capture_output=True, text=True
    )


def left(bench: dict[str, str]) -> list[str]:
    folder = Path(bench["HOME"]) / "images"
    return (
        sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))
        if folder.exists()
        else []
    )


def test_an_image_comes_with_its_record_and_nothing_else(bench: dict[str, str]) -> None:
    before = (ROOT / "registry" / "images.yml").read_text()
    done = build(bench, "--json")
    assert done.returncode == 0, done.stderr
    assert left(bench) == ["encore-cpu.sif", "encore-cpu.sif.json"]
    record = json.loads(done.stdout)
    assert record["base"] == f"{bench['HOME']}/base.sif" and record["bootstrap"] == "localimage"
    assert record["runtime"] == "apptainer version 1.4.5" and record["digest"].startswith("sha256:")
    # from a base of one's own: nothing that the registry should name
    assert (ROOT / "registry" / "images.yml").read_text() == before
    calls = Path(bench["CALLS"]).read_text().splitlines()
    assert "--notest" in calls and f"base_digest={record['base_digest']}" in calls
    assert any(call.startswith("commit=") for call in calls)


def test_a_tag_is_part_of_the_name(bench: dict[str, str]) -> None:
    assert build(bench, "--tag", "mine").returncode == 0
    assert left(bench) == ["encore-cpu-mine.sif", "encore-cpu-mine.sif.json"]


@pytest.mark.parametrize(
    ("do", "says"), [("fail", "no space left on device"), ("bad", "does not pass its test")]
)
def test_a_build_that_fails_puts_nothing_in_place(
    bench: dict[str, str], do: str, says: str
) -> None:
    done = build(bench, DO=do)
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert left(bench) == []


def test_a_failed_build_leaves_the_older_image_as_it_was(bench: dict[str, str]) -> None:
    assert build(bench).returncode == 0
    before = {name: (Path(bench["HOME"]) / "images" / name).read_bytes() for name in left(bench)}
    assert build(bench, DO="fail").returncode == 1
    assert {
        name: (Path(bench["HOME"]) / "images" / name).read_bytes() for name in left(bench)
    } == before


def start_and_wait(bench: dict[str, str]) -> "subprocess.Popen[bytes]":
    home = bench["HOME"]
    local = ["--build-arg", f"base={home}/base.sif", "--build-arg", f"wheels={home}"]
    process = subprocess.Popen(
        command(bench, "cpu", *local), env={**bench, "DO": "hang"}, stderr=subprocess.DEVNULL
    )
    while not Path(f"{bench['CALLS']}.hangs").exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_and_no_process(
    bench: dict[str, str], kind: signal.Signals
) -> None:
    process = start_and_wait(bench)
    process.send_signal(kind)
    assert process.wait(60) in (130, 143)
    assert left(bench) == []
    listed = subprocess.run(
        ["ps", "-wweo", "args"], capture_output=True, text=True, check=True
    ).stdout
    assert str(bench["HOME"]) not in listed


def test_what_a_killed_build_left_goes_with_the_next_run(bench: dict[str, str]) -> None:
    process = start_and_wait(bench)
    process.kill()
    process.wait()
    (runtime,) = [
        int(line.split()[0])
        for line in subprocess.run(
            ["ps", "-wweo", "pid,args"], capture_output=True, text=True
        ).stdout.splitlines()
        if f"{bench['HOME']}/bin/apptainer" in line
    ]
    os.killpg(runtime, signal.SIGKILL)
    assert any(name.endswith(".building") for name in left(bench))
    assert build(bench).returncode == 0
    assert left(bench) == ["encore-cpu.sif", "encore-cpu.sif.json"]


def test_two_builds_of_one_image_do_not_meet(bench: dict[str, str]) -> None:
    process = start_and_wait(bench)
    try:
        done = build(bench)
        assert done.returncode == 1 and "is being written by another run" in done.stderr
    finally:
        process.terminate()
        process.wait(60)


REFUSED = {
    "unknown argument": (
        ["--build-arg", "bse=x"],
        "unknown build argument of cpu.def 'bse'; valid: base",
    ),
    "not a pair": (["--build-arg", "base"], "is not NAME=VALUE"),
    "ours": (["--build-arg", "commit=x"], "unknown build argument"),
    "tag": (["--tag", "a/b"], "cannot be part of a file's name"),
    "no base": (["--build-arg", "base=/nowhere/x.sif"], "/nowhere/x.sif is not there"),
    "no registry": (["--build-arg", "base=localhost:1/a:1"], "localhost:1/a:1 cannot be pulled"),
    "runtime": (["--runtime", "singularity"], "no singularity on this machine"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_clear_line(bench: dict[str, str], case: str) -> None:
    options, says = REFUSED[case]
    bench["PATH"] = f"{bench['HOME']}/bin"  # no other runtime than the bench's
    done = subprocess.run(
        command(bench, "cpu", *options), env=bench, capture_output=True, text=True
    )
    assert done.returncode in (1, 2)
    assert says in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert left(bench) == []


def test_without_a_runtime_it_says_where_one_comes_from(bench: dict[str, str]) -> None:
    bench["PATH"] = ""
    done = subprocess.run(
        command(bench, "cpu", "--dry-run"), env=bench, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no apptainer or singularity on this machine; install Apptainer" in done.stderr


def test_a_dry_run_says_all_and_writes_nothing(bench: dict[str, str]) -> None:
    done = subprocess.run(
        command(bench, "rocm", "--dry-run", "--json"), env=bench, capture_output=True, text=True
    )
    plan = json.loads(done.stdout)
    assert (
        plan["base"].startswith("docker docker.io/rocm/pytorch:")
        and "not known yet" in plan["its digest"]
    )
    assert "--build-arg" in plan["command"]
    assert left(bench) == [] and not Path(bench["CALLS"]).exists()


def test_inspect_of_what_is_no_image(bench: dict[str, str]) -> None:
    for path, says in (
        (Path(bench["HOME"]) / "none.sif", "is not there"),
        (Path(bench["CALLS"]), "not a container"),
    ):
        if says != "is not there":
            path.write_text("x")
        done = subprocess.run(
            command(bench, "inspect", str(path)), env=bench, capture_output=True, text=True
        )
        assert done.returncode == 1 and says in done.stderr
    done = subprocess.run(command(bench, "inspect"), env=bench, capture_output=True, text=True)
    assert done.returncode == 2 and "inspect needs an IMAGE" in done.stderr
