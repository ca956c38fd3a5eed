"""The plan as table and JSON: nothing that was promised is missing, and both tell the same."""

import json

import pytest
from encore.plan import report, resolve
from encore.plan.records import Plan, Request
from encore.plan.user_config import UserConfig
from encore.registry.paper_runs import load_runs


def plan(name: str, cluster: str) -> Plan:
    return resolve.resolve(Request(name, cluster, account="project_1"), UserConfig())


@pytest.mark.parametrize("cluster", ["lumi", "leonardo", "cuda", "local"])
def test_json_is_plain_and_complete(cluster: str) -> None:
    document = report.as_json(plan("146m14b400m", cluster))
    assert json.loads(json.dumps(document)) == document
    assert {
        "flops_6nd",
        "flops_exact",
        "hours",
        "jobs",
        "gpu_hours",
        "billing_units",
        "checkpoint_bytes",
    } <= set(document["cost"])
    assert document["cost"]["memory_fits"] is True


@pytest.mark.parametrize("name", sorted(load_runs())[::60])
def test_the_table_holds_what_people_pay_for(name: str) -> None:
    table = report.as_table(plan(name, "lumi"))
    for word in ("GPU-hours", "LUMI GPU-hours", "checkpoints", "memory", "FLOPs", "epoch", "job"):
        assert word in table
    assert all(line == line.rstrip() for line in table.splitlines())


def test_one_epoch_is_singular() -> None:
    assert "1 epoch of" in report.as_table(plan("2b855b55bc4", "lumi"))


def test_billing_is_left_out_where_the_site_has_no_unit() -> None:
    assert "=" not in next(
        line
        for line in report.as_table(plan("146m14b400m", "cuda")).splitlines()
        if "GPU-hours" in line
    )
