"""The doctor's reading of a job's log: what is right, and each thing that can be wrong."""

import dataclasses
import json

import pytest
from encore.doctor import job_checks
from encore.findings import Finding
from encore.plan import resolve, settings
from encore.plan.records import Plan, Request
from encore.plan.user_config import UserConfig

GIB = 2**30


def plan(nodes: int = 2) -> Plan:
    return resolve.resolve(Request("146m14b400m", "lumi", nodes=nodes, account="p"), UserConfig())


def log(
    found: Plan, extra: str = "NCCL INFO NET/OFI Selected provider is cxi", **changes: object
) -> str:
    lines = [extra]
    for rank in range(found.gpus):
        report = {
            "rank": rank,
            "world_size": found.gpus,
            "host": f"nid{rank // 8}",
            "local_rank": rank % 8,
        }
        report |= {
            "device": "AMD Instinct MI250X",
            "devices_seen": 8,
            "free_gib": 63.0,
            "all_reduce_ok": True,
        }
        report |= {"bus_gb_s": 80.0, "caches": {"/tmp/x": True}}
        lines.append(f"{rank}: ENCORE_PROBE {json.dumps(report | changes)}")
    return "\n".join(lines)


def wrong(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.right is False]


def test_a_healthy_job_has_nothing_wrong() -> None:
    assert wrong(job_checks.read_log(plan(), log(plan()), "the log")) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"all_reduce_ok": False}, ["all-reduce"]),
        ({"free_gib": 1.0}, ["GPU memory"]),
        ({"devices_seen": 0, "free_gib": None}, ["devices", "GPU memory"]),
        ({"host": "nid0"}, ["nodes"]),
        ({"caches": {"/tmp/x": False}}, ["caches"]),
        ({"rank": 0}, ["ranks"]),
    ],
)
def test_each_thing_that_is_wrong_is_found(changes: dict[str, object], what: list[str]) -> None:
    assert wrong(job_checks.read_log(plan(), log(plan(), **changes), "the log")) == what


@pytest.mark.parametrize(
    "network", ["NET/Socket : Using [0]hsn0", "NET/OFI Selected provider is tcp", ""]
)
def test_a_job_on_slingshot_that_goes_over_tcp_fails(network: str) -> None:
    assert wrong(job_checks.read_log(plan(), log(plan(), network), "the log")) == ["network"]


def test_on_one_node_no_network_is_asked_for() -> None:
    one = resolve.resolve(Request("146m14b400m", "lumi", nodes=1, account="p"), UserConfig())
    assert wrong(job_checks.read_log(one, log(one, "", host="nid0"), "the log")) == []


def test_bandwidth_counts_against_the_profile_where_it_states_one() -> None:
    found = plan()
    strict = dataclasses.replace(
        found, cluster=dataclasses.replace(found.cluster, all_reduce_gb_s=90.0)
    )
    assert wrong(job_checks.read_log(strict, log(found), "the log")) == ["bandwidth"]


def test_an_empty_log_says_that_no_rank_reported() -> None:
    (finding,) = job_checks.read_log(plan(), "srun: error: Unable to create step", "/logs/x.log")
    assert (finding.right, finding.seen) == (False, "0 of 16 reported")
    assert "/logs/x.log" in finding.advice


@pytest.mark.slow
def test_the_probe_runs_without_slurm(tmp_path: object) -> None:
    local = resolve.resolve(
        Request(
            "500k500k100k",
            "local",
            workspace=str(tmp_path),
            settings=settings.parse(["gpus_per_node=2"]),
        ),
        UserConfig(),
    )
    findings = job_checks.in_job(local, 300)
    assert wrong(findings) == []
    assert Finding("ranks", True, "2 of 2 reported", "read its output") in findings
