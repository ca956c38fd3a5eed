"""setup_local.yml, applied to this machine for real: its Slurm is LUMI's in shape and in what it
refuses.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from encore.registry import clusters
from helpers.local_machine import UNDER_CI, LocalSlurm, Play, not_run, play_local, runs_as_root

LEFT_BY_LOCAL = [
    *map(Path, ("/etc/slurm", "/etc/apptainer", "/usr/local/sbin/encore-slurm", "/home/encore")),
    *map(
        Path,
        (
            "/var/lib/encore-slurm",
            "/var/lib/encore-local",
            "/var/log/encore-slurm",
            "/run/encore-slurm",
        ),
    ),
    *(Path(f"/dev/encore-gpu{index}") for index in range(8)),
]


def ask(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def installed_packages() -> list[str]:
    """The machine's packages."""
    lines = ask("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Package}\n").splitlines()
    return [line[3:] for line in lines if line[1] == "i"]


def needs_root() -> None:
    if not runs_as_root():
        not_run("setup_local.yml needs root")


def test_the_virtual_nodes_are_shaped_like_those_of_lumi(local_slurm: LocalSlurm) -> None:
    lumi = clusters.load_cluster("lumi")
    nodes = ask("scontrol", "--oneliner", "show", "nodes").splitlines()
    assert len(nodes) == 2
    for node in nodes:
        values = dict(pair.split("=", 1) for pair in node.split() if "=" in pair)
        assert values["Gres"] == f"{lumi.node.gres}:{lumi.node.gpus}"
        assert int(values["RealMemory"]) == lumi.node.memory_gib * 1024
        assert (values["CoresPerSocket"], values["ThreadsPerCore"], values["CPUEfctv"]) == (
            "64",
            "2",
            "112",
        )
    limits = dict(
        line.split() for line in ask("sinfo", "--noheader", "--format=%R %l").splitlines()
    )
    assert {name: clusters.seconds(limit) for name, limit in limits.items()} == {
        name: clusters.seconds(partition.max_time)
        for name, partition in (lumi.partitions or {}).items()
    }


def test_a_job_of_the_ordinary_user_runs_in_a_container_on_both_nodes(
    local_slurm: LocalSlurm, users_folder: Path
) -> None:
    script = f"""#!/bin/bash
#SBATCH --partition=standard-g --account={local_slurm.account} --time=00:02:00
#SBATCH --output={users_folder}/log
#SBATCH --nodes=2 --ntasks-per-node=8 --cpus-per-task=7 --gpus-per-node=8 --mem=480G --exclusive
getent hosts "$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
srun apptainer exec {local_slurm.base} sh -c \\
  'echo rank $SLURM_PROCID $SLURM_NODEID $SLURM_LOCALID $SLURM_GPUS_ON_NODE'
"""
    done = local_slurm.user.run("sbatch", "--wait", text=script, cwd=users_folder)
    log = (users_folder / "log").read_text(encoding="utf-8")
    assert done.returncode == 0, done.stderr + log
    assert "127.0.0.1" in log
    ranks = sorted(
        tuple(map(int, found)) for found in re.findall(r"rank (\d+) (\d+) (\d+) (\d+)", log)
    )
    assert ranks == [(rank, rank // 8, rank % 8, 8) for rank in range(16)]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--account=project_400000000", "Invalid account"),
        ("--time=2-00:00:01", "time limit"),
        ("--nodes=3", "Node count"),
        ("--gpus-per-node=9", "Requested node configuration"),
        ("--cpus-per-task=8", "Requested node configuration"),
    ],
)
def test_what_lumi_refuses_is_refused_here(local_slurm: LocalSlurm, option: str, said: str) -> None:
    fits = [
        f"--account={local_slurm.account}",
        "--partition=standard-g",
        "--nodes=2",
        "--ntasks-per-node=8",
    ]
    fits += [
        "--cpus-per-task=7",
        "--gpus-per-node=8",
        "--mem=480G",
        "--time=2-00:00:00",
        "--hint=nomultithread",
    ]
    test = ["sbatch", "--test-only", *fits]
    assert local_slurm.user.run(*test, text="#!/bin/sh\n").returncode == 0
    refused = local_slurm.user.run(*test, option, text="#!/bin/sh\n")
    assert refused.returncode != 0 and said in refused.stderr


def test_a_second_run_changes_nothing(local_slurm: LocalSlurm) -> None:
    needs_root()
    assert play_local().ok().changed == 0
    assert play_local("--check").ok().changed == 0


def test_a_daemon_that_died_is_started_and_the_others_stay(local_slurm: LocalSlurm) -> None:
    needs_root()
    before = ask("encore-slurm", "status")
    pid = re.search(r"slurmd-nid005002 runs \((\d+)\)", before)
    assert pid
    subprocess.run(["kill", "-9", pid[1]], check=True)
    subprocess.run(["tail", f"--pid={pid[1]}", "--follow", "/dev/null"], check=True)
    assert (
        "slurmd-nid005002 is down"
        in subprocess.run(["encore-slurm", "status"], capture_output=True, text=True).stdout
    )
    assert play_local().ok().changed == 1
    after = ask("encore-slurm", "status")
    assert [line for line in before.splitlines() if "005002" not in line] == [
        line for line in after.splitlines() if "005002" not in line
    ]


def test_the_script_of_the_daemons_is_clean_shell(local_slurm: LocalSlurm) -> None:
    assert ask(f"{Path(sys.executable).parent}/shellcheck", "/usr/local/sbin/encore-slurm") == ""


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"state": "gone"}, "set -e state=present or -e state=absent"),
        ({"slurm_profile": "lumo"}, "clusters/lumo.yml does not exist; set slurm_profile"),
        ({"slurm_profile": "local"}, "local has no Slurm"),
        ({"slurm_nodes": "nid1"}, "slurm_nodes, slurm_accounts and slurm_users must be lists"),
        ({"slurm_first_node_port": "17001"}, "the ports whole numbers"),
        ({"ordinary_user_name": "root"}, "the name of an unprivileged user"),
        ({"base_image_file": "base.sif"}, "base_image_file an absolute path"),
        ({"apptainer_mirror": "mirror.example"}, "set it to the URL of a Debian mirror"),
    ],
)
def test_a_wrong_variable_of_the_local_set_up_is_a_clear_line(
    local_slurm: LocalSlurm, variables: dict[str, Any], said: str
) -> None:
    needs_root()
    assert said in play_local(**variables).refusal()


def test_without_root_the_local_set_up_says_so(local_slurm: LocalSlurm, users_kit: Path) -> None:
    program = users_kit / ".venv/bin/ansible-playbook"
    done = local_slurm.user.run(program, "playbooks/setup_local.yml", cwd=users_kit)
    assert "run it with sudo" in Play(done.returncode, done.stdout + done.stderr).refusal()


def test_what_was_set_up_is_taken_away(local_slurm: LocalSlurm) -> None:
    needs_root()
    if not UNDER_CI:
        not_run("it would take your Slurm away; CI does it")
    before = Path("/var/lib/encore-local/before").read_text(encoding="utf-8").split()
    home = Path("/home/encore")
    checkpoint = local_slurm.user.own(home / "checkpoints") / "latest"
    checkpoint.write_text("global_step10")
    assert play_local("--check", state="absent").ok().changed > 0
    first = play_local(state="absent").ok()
    assert first.changed > 0
    assert f"kept {home}, which holds files" in first.words
    assert checkpoint.read_text() == "global_step10"
    assert play_local(state="absent").ok().changed == 0
    assert play_local(state="absent", ordinary_user_remove_home=True).ok().changed > 0
    assert set(installed_packages()) <= set(before)
    assert [path for path in LEFT_BY_LOCAL if path.exists()] == []
    assert "nid005001" not in Path("/etc/hosts").read_text(encoding="utf-8")
    assert [
        program for program in ("slurmctld", "munged", "apptainer") if shutil.which(program)
    ] == []
    assert not re.search(r"^(munged|mariadbd|slurm\w+)$", ask("ps", "-eo", "comm="), re.MULTILINE)
    assert play_local(state="absent").ok().changed == 0
