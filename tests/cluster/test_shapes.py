"""The reference scripts of every cluster, asked of a Slurm shaped like that cluster: it would start
each of them.
"""

from collections.abc import Iterator

import pytest
from encore.jobs import render
from encore.plan import resolve, settings
from encore.plan.records import Request
from encore.plan.user_config import UserConfig
from encore.registry import clusters as profiles
from helpers.local_machine import LocalSlurm, not_run, play_local, runs_as_root
from helpers.reference_scripts import REFERENCES, Reference

SLURMS = [
    name for name in profiles.cluster_names() if profiles.load_cluster(name).scheduler == "slurm"
]
# pyxis changes how a job starts, not what it asks of Slurm
SHAPES = {
    "local-slurm": ["local-slurm"],
    "lumi": ["lumi"],
    "leonardo": ["leonardo"],
    "cuda": ["cuda", "cuda-pyxis"],
}


@pytest.fixture(scope="module")
def reshaped(local_slurm: LocalSlurm) -> Iterator[LocalSlurm]:
    """The Slurm, which a test may give another cluster's shape; its own comes back at the end."""
    if not runs_as_root():
        not_run("giving Slurm another shape needs root")
    yield local_slurm
    play_local().ok()


def script(reference: Reference) -> str:
    """The reference, on no more nodes than there are here."""
    cluster = profiles.load_cluster(reference.cluster)
    asked = settings.parse(reference.settings)
    request = Request(
        reference.name,
        reference.cluster,
        nodes=1 if "gpus_per_node" in asked.values else 2,
        account="project_465000000" if cluster.account_required else None,
        workspace="/srv/encore",
        trainer=reference.trainer,
        settings=asked,
    )
    rendered = render.doctor_script if reference.template == "doctor" else render.train_script
    return rendered(resolve.resolve(request, UserConfig()), "/opt/encore")


def test_every_slurm_cluster_has_a_reference_script() -> None:
    assert sorted(cluster for clusters in SHAPES.values() for cluster in clusters) == SLURMS
    assert {reference.cluster for reference in REFERENCES} >= set(SLURMS)


@pytest.mark.parametrize("shape", SHAPES)
def test_its_scripts_would_start_on_a_slurm_of_its_shape(shape: str, reshaped: LocalSlurm) -> None:
    if shape != reshaped.cluster:
        play_local(slurm_profile=shape).ok()
    for reference in REFERENCES:
        if reference.cluster in SHAPES[shape]:
            done = reshaped.user.run("sbatch", "--test-only", text=script(reference))
            assert done.returncode == 0 and "to start at" in done.stderr, (
                f"{reference.file}: {done.stderr}"
            )
