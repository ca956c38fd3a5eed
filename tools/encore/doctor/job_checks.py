"""What a two-minute job finds on the run's own nodes, in its own container."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from encore.findings import Finding
from encore.jobs import render, slurm
from encore.plan.records import Plan

# with NCCL_DEBUG=INFO, NCCL's log names the plugin that it loaded in one of these ways
_OFI = re.compile(r"NET/OFI|AWS Libfabric", re.IGNORECASE)
_REPORT = re.compile(r"ENCORE_PROBE (\{.*\})")


def in_job(plan: Plan, timeout_s: float) -> list[Finding]:
    """Run the two-minute job on the run's own kind of nodes and read its log."""
    script = render.doctor_script(plan)
    if plan.cluster.scheduler == "none":
        result = subprocess.run(
            ["bash"], input=script, capture_output=True, text=True, check=False, timeout=timeout_s
        )
        return read_log(plan, result.stdout, "its output")
    job = slurm.run_job(script, timeout_s)
    path = Path(plan.paths.logs) / f"doctor-{plan.name}-{job}.log"
    if not path.is_file():
        folder = shlex.quote(plan.paths.logs)
        advice = f"srun ls -ld {folder}: the compute nodes have to see that folder"
        return [Finding("job", False, f"job {job} left no log at {path}", advice)]
    return read_log(plan, path.read_text(encoding="utf-8", errors="replace"), str(path))


def read_log(plan: Plan, log: str, where: str) -> list[Finding]:
    """The findings of a doctor's job from its log; `where` tells the user where to read it."""
    reports: list[dict[str, Any]] = [json.loads(match[1]) for match in _REPORT.finditer(log)]
    ranks = sorted(report["rank"] for report in reports)
    all_reported = ranks == list(range(plan.gpus))
    detail = f"{len(ranks)} of {plan.gpus} reported"
    findings = [Finding("ranks", all_reported, detail, f"read {where}")]
    if not reports:
        return findings
    findings.append(_nodes(plan, reports, where))
    if plan.cluster.accelerator != "cpu":
        findings += _devices(plan, reports)
    sums_are_right = all(report["all_reduce_ok"] for report in reports)
    detail = "sums are right"
    if not sums_are_right:
        detail = "wrong sums"
    findings.append(Finding("all-reduce", sums_are_right, detail, f"read {where}"))
    if len(reports) > 1:
        findings.append(_bandwidth(plan, min(report["bus_gb_s"] for report in reports), where))
    if plan.cluster.slingshot and plan.job.nodes > 1:
        findings.append(_network(log, where))
    findings.append(_caches(reports))
    return findings


def _nodes(plan: Plan, reports: list[dict[str, Any]], where: str) -> Finding:
    hosts = sorted({report["host"] for report in reports})
    advice = f"read {where}: srun has to start {plan.gpus} ranks on {plan.job.nodes} nodes"
    return Finding("nodes", len(hosts) == plan.job.nodes, ", ".join(hosts), advice)


def _devices(plan: Plan, reports: list[dict[str, Any]]) -> list[Finding]:
    """Every rank sees a GPU, and each GPU has the memory that the run needs."""
    fewest = min(report["devices_seen"] for report in reports)
    free_gib = 0.0
    if fewest > 0:
        free_gib = min(report["free_gib"] for report in reports)
    required_gib = plan.cost.memory_per_device_bytes / 2**30
    image = shlex.quote(str(render.image_path(plan)))
    return [
        Finding(
            "devices",
            fewest > 0,
            f"{reports[0]['device']}, {fewest} seen per rank",
            f"tools/build_image.py inspect {image}: the image has to be for this GPU",
        ),
        Finding(
            "GPU memory",
            free_gib >= required_gib,
            f"{free_gib:.1f} GiB free, {required_gib:.1f} needed",
            "see what holds it with nvidia-smi or rocm-smi on the node, or raise --nodes",
        ),
    ]


def _bandwidth(plan: Plan, measured: float, where: str) -> Finding:
    threshold = plan.cluster.all_reduce_gb_s
    if threshold is None:
        return Finding("bandwidth", None, f"{measured:.2f} GB/s, no threshold is known")
    detail = f"{measured:.2f} GB/s, at least {threshold:g} expected"
    return Finding("bandwidth", measured >= threshold, detail, f"read NCCL's lines in {where}")


def _network(log: str, where: str) -> Finding:
    """On Slingshot, nodes talk through the OFI plugin and cxi, or else, slowly, through TCP."""
    has_ofi = bool(_OFI.search(log)) and "cxi" in log
    detail = "OFI and cxi" if has_ofi else "no OFI plugin or no cxi in the log"
    advice = f"read {where}: NCCL has to load the image's aws-ofi-nccl"
    return Finding("network", has_ofi, detail, advice)


def _caches(reports: list[dict[str, Any]]) -> Finding:
    closed = set()
    for report in reports:
        for folder, is_writable in report["caches"].items():
            if not is_writable:
                closed.add(folder)
    if not closed:
        return Finding("caches", True, "writable")
    folders = sorted(closed)
    advice = f"on a compute node: mkdir -p {shlex.join(folders)}"
    return Finding("caches", False, f"not writable: {', '.join(folders)}", advice)
