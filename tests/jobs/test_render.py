"""Rendered scripts: whole reference files, shell syntax, quoting, and the trainers' arguments."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from encore.jobs import render
from encore.plan import resolve, settings, trainer_args
from encore.plan.records import Plan, Request
from encore.plan.user_config import UserConfig
from encore.registry import trainer_rules
from encore.registry.paper_runs import load_runs
from helpers.reference_scripts import FOLDER, REFERENCES, Reference

IDS = [reference.file for reference in REFERENCES]
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
KIT = "/opt/encore"


def plan(name: str, cluster: str, *overrides: str, **request: object) -> Plan:
    asked = Request(
        name, cluster, account="project_1", settings=settings.parse(overrides), **request
    )  # type: ignore[arg-type]
    return resolve.resolve(asked, UserConfig(workspace="/w"))


@pytest.mark.parametrize("reference", REFERENCES, ids=IDS)
def test_reference_scripts_are_up_to_date(reference: Reference) -> None:
    assert reference.path.read_text(encoding="utf-8") == reference.text(), (
        "make render, then read the difference"
    )


def test_no_reference_script_is_left_over() -> None:
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == {
        reference.path for reference in REFERENCES
    }


def test_every_cluster_has_a_reference_script() -> None:
    clusters = {path.stem for path in (FOLDER.parent / "registry" / "clusters").glob("*.yml")}
    assert {reference.cluster for reference in REFERENCES} == clusters


CASES = [
    *((name, "lumi", ()) for name in sorted(load_runs())[::40]),
    *(("146m14b400m", cluster, ()) for cluster in ("cuda", "cuda-pyxis", "leonardo")),
    ("2b855b11bc4", "lumi", ("launch=torchrun",)),
    ("7m100m100m", "lumi", ("gpus_per_node=2", "partition=dev-g")),
    ("146m14b400m", "cuda", ("launch=tasks",)),
    ("500k500k100k", "local", ()),
    ("500k500k100k", "local", ("gpus_per_node=2",)),
]


@pytest.mark.parametrize(("name", "cluster", "overrides"), CASES)
def test_scripts_pass_bash_and_shellcheck(
    name: str, cluster: str, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    script = tmp_path / "job.sh"
    script.write_text(render.train_script(plan(name, cluster, *overrides), KIT))
    subprocess.run(["bash", "-n", script], check=True)
    checked = subprocess.run([SHELLCHECK, script], check=False, capture_output=True, text=True)
    assert checked.stdout == "" and checked.returncode == 0


@pytest.mark.parametrize("trainer", ["turkunlp", "bigscience", "deepspeedai"])
@pytest.mark.parametrize("launch", ["tasks", "torchrun"])
@pytest.mark.parametrize("name", ["146m14b400m", "20m400m400m", "8b7178b25b"])
def test_a_pinned_trainer_takes_every_argument(trainer: str, launch: str, name: str) -> None:
    found = plan(name, "cuda", f"launch={launch}", trainer=trainer)
    trainer_rules.check_arguments(
        found.software.trainer, found.software.pin, trainer_args.trainer_args(found), found.gpus
    )


def test_ul2_goes_to_the_commit_that_can_and_says_so() -> None:
    found = plan("2b855b55bc4", "lumi", objective="ul2")
    assert found.software.pin.commit == "a1088c1c0291355d8b004809475803172a0d2868"
    assert "turkunlp-ul2/pretrain_ul2.py" in render.train_script(found, KIT)
    trainer_rules.check_arguments(
        found.software.trainer, found.software.pin, trainer_args.trainer_args(found), found.gpus
    )


def test_shapes_of_another_attention_size_say_so_to_megatron() -> None:
    arguments = trainer_args.trainer_args(plan("20m400m400m", "lumi"))
    assert arguments[arguments.index("--kv-channels") + 1] == "32"
    assert arguments[arguments.index("--num-attention-heads") + 1] == "7"
    assert arguments[arguments.index("--hidden-size") + 1] == "288"


def test_a_signal_only_for_a_trainer_that_catches_it_in_a_mode_that_hands_it_on() -> None:
    def directive(trainer: str, launch: str) -> bool:
        found = plan("146m14b400m", "cuda", f"launch={launch}", trainer=trainer)
        script = render.train_script(found, KIT)
        return "#SBATCH --signal" in script and "--exit-signal-handler" in script

    assert directive("deepspeedai", "tasks")
    assert not directive("deepspeedai", "torchrun")
    assert not directive("bigscience", "tasks")


def test_masks_never_meet_cpus_per_task_on_srun() -> None:
    bound = render.train_script(plan("146m14b400m", "lumi"), KIT)
    assert "mask_cpu:0x00fe000000000000," in bound and "unset SRUN_CPUS_PER_TASK" in bound
    assert "export SRUN_CPUS_PER_TASK" not in bound
    for overrides in (("launch=torchrun",), ("gpus_per_node=4",)):
        unbound = render.train_script(plan("146m14b400m", "lumi", *overrides), KIT)
        assert (
            "mask_cpu" not in unbound
            and "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK" in unbound
        )


def test_a_quality_of_service_is_asked_for_where_one_is_set() -> None:
    script = render.train_script(plan("146m14b400m", "leonardo", "qos=boost_qos_dbg"), KIT)
    assert "#SBATCH --qos=boost_qos_dbg\n#SBATCH --time=00:30:00\n" in script
    assert "--qos" not in render.train_script(plan("146m14b400m", "leonardo"), KIT)


def test_no_task_of_the_users_environment_sees_one_die_alone_on_lumi() -> None:
    script = render.train_script(plan("146m14b400m", "lumi"), KIT)
    assert script.index("unset ROCR_USE_SLURM_LOCALID\n") < script.index("srun ")
    assert "ROCR_USE_SLURM_LOCALID" not in render.train_script(plan("146m14b400m", "cuda"), KIT)


def test_singularity_runs_and_apptainer_executes_by_image() -> None:
    assert "CONTAINER=(singularity run " in render.train_script(plan("146m14b400m", "lumi"), KIT)
    assert "CONTAINER=(apptainer exec --nv " in render.train_script(
        plan("146m14b400m", "cuda"), KIT
    )
    assert '--container-image="$IMAGE"' in render.train_script(
        plan("146m14b400m", "cuda-pyxis"), KIT
    )


def test_the_script_writes_exactly_the_plans_data_paths_and_config(tmp_path: Path) -> None:
    found = resolve.resolve(
        Request("4b284b84b90c4py", "local", workspace=str(tmp_path)), UserConfig()
    )
    script = render.train_script(found, KIT)
    before_launch = script[: script.index("# The trainer's arguments")]
    for kind in found.data.prefixes:
        for ending in (".bin", ".idx"):
            file = Path(f"{found.paths.data}/{kind}{ending}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("x")
    for file in ("vocab.json", "merges.txt"):
        path = Path(found.paths.tokenizers) / "gpt2" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    subprocess.run(["bash"], input=before_launch, text=True, check=True)
    written = {file.name: file.read_text() for file in Path(found.paths.config).glob("*.txt")}
    assert written == found.data_paths
    config = json.loads((Path(found.paths.config) / "deepspeed.json").read_text())
    assert config["train_batch_size"] == found.training.global_batch_size


def test_a_job_without_its_inputs_ends_at_once_and_names_each(tmp_path: Path) -> None:
    found = resolve.resolve(Request("500k500k100k", "local", workspace=str(tmp_path)), UserConfig())
    ended = subprocess.run(
        ["bash"],
        input=render.train_script(found, KIT),
        text=True,
        check=False,
        capture_output=True,
    )
    assert ended.returncode == 1
    assert ended.stderr.count("is missing or empty") == 2 + 2 * len(found.data.prefixes)
    assert list(tmp_path.iterdir()) == []


def test_a_left_over_kill_switch_is_named(tmp_path: Path) -> None:
    found = resolve.resolve(Request("500k500k100k", "local", workspace=str(tmp_path)), UserConfig())
    switch = Path(found.paths.kill_switch)
    switch.parent.mkdir(parents=True)
    switch.touch()
    ended = subprocess.run(
        ["bash"],
        input=render.train_script(found, KIT),
        text=True,
        check=False,
        capture_output=True,
    )
    assert f"{switch} exists" in ended.stderr


def test_the_arguments_in_the_script_are_the_plans(tmp_path: Path) -> None:
    found = plan("146m14b400m", "lumi")
    script = render.train_script(found, KIT)
    block = script[script.index("ARGS=(") + 6 : script.index("\n)\n", script.index("ARGS=("))]
    assert shlex.split(block) == trainer_args.trainer_args(found)
