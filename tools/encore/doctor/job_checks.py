"""What a two-minute job finds on the run's own nodes, in its own container: run it, read its log."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from encore.doctor.checks import Finding
from encore.jobs import render, slurm
from encore.plan.records import Plan

_OFI = re.compile(r"NET/OFI|AWS Libfabric", re.IGNORECASE)
_MARK = re.compile(r"ENCORE_PROBE (\{.*\})")


def in_job(plan: Plan, timeout_s: float) -> list[Finding]:
    """Run the two-minute job on the run's own kind of nodes and read its log."""
    script = render.doctor_script(plan)
    if plan.cluster.scheduler == "none":
        log = subprocess.run(
            ["bash"], input=script, capture_output=True, text=True, check=False, timeout=timeout_s
        ).stdout
        return read_log(plan, log, "its output")
    job = slurm.run_job(script, timeout_s)
    path = Path(plan.paths.logs) / f"doctor-{plan.name}-{job}.log"
    if not path.is_file():
        return [
            Finding(
                "job",
                False,
                f"job {job} left no log at {path}",
                "is that folder there on the compute nodes?",
            )
        ]
    return read_log(plan, path.read_text(encoding="utf-8", errors="replace"), str(path))


def read_log(plan: Plan, log: str, where: str) -> list[Finding]:
    """The findings of a doctor's job from its log."""
    reports: list[dict[str, Any]] = [json.loads(match[1]) for match in _MARK.finditer(log)]
    ranks = sorted(report["rank"] for report in reports)
    whole = ranks == list(range(plan.gpus))
    findings = [Finding("ranks", whole, f"{len(ranks)} of {plan.gpus} reported", f"read {where}")]
    if not reports:
        return findings
    hosts = {report["host"] for report in reports}
    findings.append(
        Finding(
            "nodes",
            len(hosts) == plan.job.nodes,
            ", ".join(sorted(hosts)),
            "ranks are not spread as asked",
        )
    )
    on_gpu = plan.cluster.accelerator != "cpu"
    if on_gpu:
        seen = {report["devices_seen"] for report in reports}
        findings.append(
            Finding(
                "devices",
                0 not in seen,
                f"{reports[0]['device']}, {min(seen)} seen per rank",
                "is the image for this GPU?",
            )
        )
        free = (
            min(report["free_gib"] for report in reports if report["free_gib"] is not None)
            if 0 not in seen
            else 0.0
        )
        need = plan.cost.memory_per_device_bytes / 2**30
        findings.append(
            Finding(
                "GPU memory",
                free >= need,
                f"{free:.1f} GiB free, {need:.1f} needed",
                "other processes hold it",
            )
        )
    right = all(report["all_reduce_ok"] for report in reports)
    findings.append(
        Finding("all-reduce", right, "sums are right" if right else "wrong sums", f"read {where}")
    )
    if len(reports) > 1:
        findings.append(_bandwidth(plan, min(report["bus_gb_s"] for report in reports)))
    findings += _network(plan, log, where)
    closed = sorted(
        {folder for report in reports for folder, open_ in report["caches"].items() if not open_}
    )
    findings.append(
        Finding(
            "caches",
            not closed,
            "writable" if not closed else f"not writable: {', '.join(closed)}",
            "bind them into the container",
        )
    )
    return findings


def _bandwidth(plan: Plan, measured: float) -> Finding:
    least = plan.cluster.all_reduce_gb_s
    expected = "no threshold is known" if least is None else f"at least {least:g} expected"
    return Finding(
        "bandwidth",
        None if least is None else measured >= least,
        f"{measured:.2f} GB/s, {expected}",
        "see the network below",
    )


def _network(plan: Plan, log: str, where: str) -> list[Finding]:
    """On Slingshot, nodes have to talk through the OFI plugin and cxi; without them they fall back to TCP."""
    if not plan.cluster.slingshot or plan.job.nodes == 1:
        return []
    through = bool(_OFI.search(log)) and "cxi" in log
    return [
        Finding(
            "network",
            through,
            "OFI and cxi" if through else "no OFI plugin or no cxi in the log",
            f"read {where}; is the image's aws-ofi-nccl found?",
        )
    ]
