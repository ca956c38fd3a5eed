"""The commands of docs/local.md, as an ordinary user types them: they end in a trained model."""

import re
import shutil
from pathlib import Path

from helpers.local_machine import ROOT, LocalSlurm, not_run

NAME = "500k500k100k"


def small_cluster_commands() -> list[str]:
    """The page's lines for the small cluster, without those that set it up or take it away."""
    page = (ROOT / "docs" / "local.md").read_text(encoding="utf-8")
    section = page[page.index("## As a small cluster") : page.index("**Another cluster's shape**")]
    lines = []
    for block in re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
        lines += [line for line in block.splitlines() if not line.startswith("sudo ")]
    return lines


def test_the_page_of_the_small_cluster_ends_in_a_trained_model(
    local_slurm: LocalSlurm, users_kit: Path
) -> None:
    workspace = local_slurm.user.home / "encore"
    if workspace.exists():
        not_run(f"{workspace} exists: it may be yours")
    script = "\n".join(["set -euxo pipefail", *small_cluster_commands()])
    try:
        # the doctor would ask the Hub, and its job waits for the one that trains
        done = local_slurm.user.run("bash", "-c", script, cwd=users_kit, HF_HUB_OFFLINE="1")
        logs = "".join(log.read_text(errors="replace") for log in workspace.glob("logs/*.log"))
        assert done.returncode == 0, done.stdout + done.stderr[-3000:] + logs[-3000:]
        latest = workspace / "checkpoints" / NAME / "latest"
        assert latest.read_text() == "global_step976", logs[-3000:]
        assert "sums are right" in done.stdout
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
