"""Slurm's commands: what they print becomes records, what they refuse becomes one line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from encore.jobs import slurm

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program of a name and a shell body first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(name: str, body: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    return write


def test_a_partition_counts_its_nodes_of_all_states(install: Install) -> None:
    install(
        "sinfo",
        "echo 'small|up|1-00:00:00|2'; echo 'small|up|1-00:00:00|3'; echo 'old|down|1:00|1'",
    )
    assert slurm.partitions() == {
        "small": slurm.PartitionState("small", True, "1-00:00:00", 5),
        "old": slurm.PartitionState("old", False, "1:00", 1),
    }


def test_accounts_are_unknown_where_there_is_no_accounting(install: Install) -> None:
    install("sacctmgr", "echo p_2; echo p_1; echo p_2")
    assert slurm.accounts("me") == {"p_1", "p_2"}
    install("sacctmgr", "echo 'no slurmdbd' >&2; exit 1")
    assert slurm.accounts("me") is None


def test_the_qualities_of_service_of_an_account_are_its_own(install: Install) -> None:
    install("sacctmgr", 'test "$5 $6" = "user=me account=p_1"; echo long,normal; echo normal')
    assert slurm.qos_names("me", "p_1") == {"long", "normal"}
    install("sacctmgr", "exit 1")
    assert slurm.qos_names("me", "p_1") is None


def test_a_refusal_is_the_commands_last_line(install: Install) -> None:
    install("sbatch", "cat > /dev/null; echo first >&2; echo 'invalid account' >&2; exit 1")
    with pytest.raises(slurm.SlurmError, match=r"^sbatch: invalid account$"):
        slurm.test_only("#!/bin/sh\n")
    with pytest.raises(slurm.SlurmError, match=r"^sbatch: invalid account$"):
        slurm.run_job("#!/bin/sh\n", 60)


def test_a_command_that_does_not_answer_is_given_up(install: Install) -> None:
    install("sinfo", "exec sleep 60")
    with pytest.raises(slurm.SlurmError, match=r"did not answer within 0.2 s"):
        slurm.ask("sinfo", timeout_s=0.2)


def test_a_job_is_known_by_its_id_with_or_without_a_cluster(install: Install) -> None:
    install("sbatch", "cat > /dev/null; echo '17;lumi'")
    assert slurm.run_job("#!/bin/sh\n", 60) == 17


def test_a_job_that_does_not_end_in_time_is_cancelled(install: Install, tmp_path: Path) -> None:
    install("sbatch", "cat > /dev/null; echo 23; exec sleep 60")
    install("scancel", f'echo "$1" > {tmp_path}/cancelled')
    with pytest.raises(slurm.SlurmError, match="job 23 did not end within 1 s") as raised:
        slurm.run_job("#!/bin/sh\n", 1)
    assert "--wait" in raised.value.hint
    assert (tmp_path / "cancelled").read_text() == "23\n"
