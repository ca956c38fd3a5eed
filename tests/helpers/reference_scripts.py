"""The reference scripts in sbatch/: which they are and how each is rendered.

`make render` runs this file and rewrites them; test_render.py compares them whole.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encore.jobs import render
from encore.plan import resolve, settings
from encore.plan.records import Request
from encore.plan.user_config import UserConfig
from encore.registry import clusters

FOLDER = Path(__file__).resolve().parents[2] / "sbatch"
_ACCOUNT, _KIT = "project_465000000", "/opt/encore"


@dataclass(frozen=True)
class Reference:
    """A script's file below sbatch/ and the options that render it."""

    file: str
    name: str
    cluster: str
    settings: tuple[str, ...] = ()
    trainer: str | None = None
    template: Literal["train", "doctor"] = "train"

    @property
    def path(self) -> Path:
        """Where it stands."""
        return FOLDER / self.file

    def text(self) -> str:
        """Render it, independent of the machine and the user."""
        cluster = clusters.load_cluster(self.cluster)
        account = _ACCOUNT if cluster.account_required else None
        workspace = None if "{account}" in cluster.workspace else "/srv/encore"
        request = Request(
            self.name,
            self.cluster,
            account=account,
            workspace=workspace,
            trainer=self.trainer,
            settings=settings.parse(self.settings),
        )
        rendered = render.doctor_script if self.template == "doctor" else render.train_script
        return rendered(resolve.resolve(request, UserConfig()), _KIT)


REFERENCES = (
    Reference("lumi/train.sbatch", "146m14b400m", "lumi"),
    Reference("lumi/train-code-mix.sbatch", "4b284b84b90c4py", "lumi"),
    Reference(
        "lumi/train-torchrun.sbatch",
        "2b855b11bc4",
        "lumi",
        settings=("launch=torchrun", "large_scale=true"),
    ),
    Reference(
        "lumi/train-part-of-a-node.sbatch",
        "7m100m100m",
        "lumi",
        settings=("partition=small-g", "gpus_per_node=1"),
    ),
    Reference("cuda/train.sbatch", "146m14b400m", "cuda"),
    Reference(
        "cuda/train-signal.sbatch",
        "146m14b400m",
        "cuda",
        settings=("launch=tasks",),
        trainer="deepspeedai",
    ),
    Reference("cuda-pyxis/train.sbatch", "146m14b400m", "cuda-pyxis"),
    Reference("leonardo/train.sbatch", "146m14b400m", "leonardo"),
    Reference(
        "local-slurm/train.sbatch", "500k500k100k", "local-slurm", settings=("gpus_per_node=1",)
    ),
    Reference("local/train.sh", "500k500k100k", "local"),
    Reference("lumi/doctor.sbatch", "146m14b400m", "lumi", template="doctor"),
)


if __name__ == "__main__":
    for reference in REFERENCES:
        reference.path.parent.mkdir(parents=True, exist_ok=True)
        reference.path.write_text(reference.text(), encoding="utf-8")
