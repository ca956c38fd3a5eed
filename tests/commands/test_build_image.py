"""tools/build_image.py: bad input is refused in one line; a failed or killed build leaves nothing.

The runtime here is a script that writes the image, fails or hangs as a test asks;
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
import yaml
from encore import files, kit
from helpers.sif_file import write_sif

PROGRAM = kit.ROOT / "tools" / "build_image.py"
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
  tree) rm "$image"; mkdir -p "$image/etc/closed"; touch "$image/etc/closed/file"
    chmod a-w "$image/etc/closed"; exit 0 ;;
  esac
  cp "$SIF" "$image" ;;
test) [ "${DO:-}" != bad ] || { echo 'error: torch does not import'; exit 1; } ;;
esac
"""
# the command with nothing of the network: no registry asked for the base, no wheels fetched
OFFLINE = """
import sys
import build_image
from encore import cli
from encore.images import base_digest, wheels

base_digest.look_up = lambda bootstrap, name: "sha256:" + "ab" * 32
wheels.fetch = lambda python, names, cache: cache
cli.run(build_image.main)
"""


@pytest.fixture
def bench(tmp_path: Path) -> dict[str, str]:
    """An environment with a runtime, a base image and a folder of wheels."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "apptainer"
    program.write_text(RUNTIME)
    program.chmod(0o755)
    write_sif(tmp_path / "base.sif")
    write_sif(tmp_path / "built.sif", rest=b"built")
    return {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "CALLS": str(tmp_path / "calls"),
        "SIF": str(tmp_path / "built.sif"),
    }


def command(bench: dict[str, str], *options: str) -> list[str]:
    return [sys.executable, str(PROGRAM), *options, "--out", str(images(bench))]


def run(bench: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(bench, *options), env=bench, capture_output=True, text=True)


def local_base(bench: dict[str, str]) -> list[str]:
    """The options of a CPU image from the bench's own base and wheels."""
    home = bench["HOME"]
    return ["cpu", "--build-arg", f"base={home}/base.sif", "--build-arg", f"wheels={home}"]


def build(bench: dict[str, str], *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Build the CPU image from the base of the bench."""
    return run({**bench, **more}, *local_base(bench), *options)


def images(bench: dict[str, str]) -> Path:
    return Path(bench["HOME"]) / "images"


def listing(bench: dict[str, str]) -> list[str]:
    """The files in the folder of images, without lock files."""
    if not images(bench).exists():
        return []
    names = [path.name for path in images(bench).iterdir()]
    return sorted(name for name in names if not name.endswith(".lock"))


def processes(bench: dict[str, str]) -> list[tuple[int, str]]:
    """(id, command line) of the processes that name the bench."""
    table = subprocess.check_output(["ps", "-wweo", "pid,args"], text=True)
    rows = [line.split(maxsplit=1) for line in table.splitlines()[1:]]
    return [(int(number), args) for number, args in rows if bench["HOME"] in args]


def test_an_image_comes_with_its_record_and_nothing_else(bench: dict[str, str]) -> None:
    process = build(bench, "--json")
    assert process.returncode == 0, process.stderr
    assert listing(bench) == ["encore-cpu.sif", "encore-cpu.sif.json"]
    record = json.loads(process.stdout)
    assert record["base"] == f"{bench['HOME']}/base.sif" and record["bootstrap"] == "localimage"
    assert record["runtime"] == "apptainer version 1.4.5" and record["digest"].startswith("sha256:")
    # from a base of the user's: nothing that the registry should name
    assert "registry/images.yml" not in process.stderr
    calls = Path(bench["CALLS"]).read_text().splitlines()
    assert "--notest" in calls and f"base_digest={record['base_digest']}" in calls
    assert any(call.startswith("commit=") for call in calls)


def test_the_registrys_image_comes_with_the_entry_and_changes_no_file_of_the_repository(
    bench: dict[str, str],
) -> None:
    def contents() -> dict[Path, bytes]:
        paths = [*kit.REGISTRY.rglob("*"), *kit.CONTAINERS.rglob("*.*")]
        return {path: path.read_bytes() for path in paths if path.is_file()}

    before = contents()
    words = ["cpu", "--out", str(images(bench)), "--json"]
    process = subprocess.run(
        [sys.executable, "-c", OFFLINE, *words],
        env={**bench, "PYTHONPATH": str(PROGRAM.parent)},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    record = json.loads(process.stdout)
    _, _, entry = process.stderr.partition("its digests, to enter in registry/images.yml:\n")
    assert yaml.safe_load(entry) == {
        "images": {
            "cpu": {
                "bases": [{"name": record["base"], "digest": "sha256:" + "ab" * 32}],
                "digest": "sha256:" + files.sha256(images(bench) / "encore-cpu.sif"),
            }
        }
    }
    assert contents() == before


def test_a_tag_is_part_of_the_name(bench: dict[str, str]) -> None:
    assert build(bench, "--tag", "mine").returncode == 0
    assert listing(bench) == ["encore-cpu-mine.sif", "encore-cpu-mine.sif.json"]


def test_a_sandbox_replaces_an_older_one_with_its_closed_folders(bench: dict[str, str]) -> None:
    for _ in range(2):
        process = build(bench, "--sandbox", DO="tree")
        assert process.returncode == 0, process.stderr
        assert listing(bench) == ["encore-cpu", "encore-cpu.json"]
        assert (images(bench) / "encore-cpu/etc/closed/file").exists()
    assert "--sandbox" in Path(bench["CALLS"]).read_text().splitlines()


@pytest.mark.parametrize(
    ("do", "says"), [("fail", "no space left on device"), ("bad", "does not pass its test")]
)
def test_a_build_that_fails_puts_nothing_in_place(
    bench: dict[str, str], do: str, says: str
) -> None:
    process = build(bench, DO=do)
    assert process.returncode == 1
    assert says in process.stderr.splitlines()[-1] and "Traceback" not in process.stderr
    assert listing(bench) == []


def test_a_failed_build_leaves_the_older_image_as_it_was(bench: dict[str, str]) -> None:
    def contents() -> dict[str, bytes]:
        return {name: (images(bench) / name).read_bytes() for name in listing(bench)}

    assert build(bench).returncode == 0
    before = contents()
    assert build(bench, DO="fail").returncode == 1
    assert contents() == before


def allow_interrupts() -> None:
    """Undo an inherited SIG_IGN: a shell starts its background jobs with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_hanging_build(bench: dict[str, str]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        command(bench, *local_base(bench)),
        env={**bench, "DO": "hang"},
        stderr=subprocess.DEVNULL,
        preexec_fn=allow_interrupts,
    )
    while not Path(f"{bench['CALLS']}.hangs").exists():
        assert process.poll() is None
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing_and_no_process(
    bench: dict[str, str], number: signal.Signals
) -> None:
    process = start_hanging_build(bench)
    process.send_signal(number)
    assert process.wait(60) in (130, 143)
    assert listing(bench) == []
    assert processes(bench) == []


@pytest.mark.slow
def test_what_a_killed_build_left_goes_with_the_next_run(bench: dict[str, str]) -> None:
    process = start_hanging_build(bench)
    process.kill()
    process.wait()
    runtimes = [number for number, args in processes(bench) if "bin/apptainer" in args]
    assert len(runtimes) == 1
    os.killpg(runtimes[0], signal.SIGKILL)
    leftovers = [files.leftover(name) for name in listing(bench)]
    assert leftovers == [("encore-cpu.sif", "unfinished")]
    assert build(bench).returncode == 0
    assert listing(bench) == ["encore-cpu.sif", "encore-cpu.sif.json"]


@pytest.mark.slow
def test_two_builds_of_one_image_do_not_meet(bench: dict[str, str]) -> None:
    process = start_hanging_build(bench)
    try:
        second = build(bench)
        assert second.returncode == 1 and "is being written by another run" in second.stderr
    finally:
        process.terminate()
        process.wait(60)


REFUSED = {
    "unknown argument": (
        ["--build-arg", "bse=x"],
        "unknown build argument of cpu.def 'bse'; valid: base",
    ),
    "not a pair": (["--build-arg", "base"], "--build-arg base is not NAME=VALUE"),
    "reserved": (["--build-arg", "commit=x"], "unknown build argument"),
    "tag": (["--tag", "a/b"], "cannot be part of a file's name"),
    "no base": (["--build-arg", "base=/nowhere/x.sif"], "/nowhere/x.sif does not exist"),
    "no registry": (["--build-arg", "base=localhost:1/a:1"], "localhost:1/a:1 cannot be pulled"),
    "runtime": (["--runtime", "singularity"], "singularity not found on this machine"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_clear_line(bench: dict[str, str], case: str) -> None:
    options, says = REFUSED[case]
    bench["PATH"] = f"{bench['HOME']}/bin"  # no other runtime than the bench's
    process = run(bench, "cpu", *options)
    assert process.returncode in (1, 2)
    assert says in process.stderr.splitlines()[-1] and "Traceback" not in process.stderr
    assert listing(bench) == []


@pytest.mark.parametrize("trainer", ["megatron", "bigscience", "builtin"])
def test_a_trainer_that_the_image_cannot_hold_is_refused_before_the_build(
    bench: dict[str, str], trainer: str
) -> None:
    """Unknown, for another vendor's GPUs, or in every image already."""
    process = run(bench, "rocm", "--dry-run", "--build-arg", f"trainers=turkunlp {trainer}")
    assert process.returncode == 2
    valid = "valid: deepspeedai, turkunlp"
    assert f"unknown trainer for image rocm '{trainer}'; {valid}" in process.stderr


def test_without_a_runtime_it_says_where_one_comes_from(bench: dict[str, str]) -> None:
    bench["PATH"] = ""
    process = run(bench, "cpu", "--dry-run")
    assert process.returncode == 1
    assert "apptainer or singularity not found on this machine; install" in process.stderr


def test_a_dry_run_says_all_and_writes_nothing(bench: dict[str, str]) -> None:
    process = run(bench, "rocm", "--dry-run", "--json")
    plan = json.loads(process.stdout)
    assert plan["base"].startswith("docker docker.io/rocm/pytorch:")
    assert "not registered" in plan["base digest"]
    assert plan["command"].startswith("apptainer build --notest")
    assert plan["command"].endswith(f"{plan['image']} {plan['definition']}")
    assert listing(bench) == [] and not Path(bench["CALLS"]).exists()


def test_inspect_of_what_is_no_image(bench: dict[str, str]) -> None:
    process = run(bench, "inspect", f"{bench['HOME']}/none.sif")
    assert process.returncode == 1 and "none.sif does not exist" in process.stderr
    text = Path(bench["HOME"]) / "text"
    text.write_text("x")
    process = run(bench, "inspect", str(text))
    assert process.returncode == 1 and "is not a container image" in process.stderr
    process = run(bench, "inspect")
    assert process.returncode == 2 and "inspect needs an IMAGE" in process.stderr
    process = run(bench, "cpu", str(text))
    assert process.returncode == 2 and "only inspect accepts an IMAGE" in process.stderr
