"""Pruning: what must stay stays, whatever the rule; what goes is gone after a kill and a rerun."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import prune_checkpoints
import pytest
import torch
from encore.checkpoints import prune, step_folder, torch_zip
from encore.checkpoints.prune import PruneEntry, RetentionRule
from encore.errors import CheckpointError, OutputError, UsageError
from helpers.examples import examples
from helpers.exploits import exploits
from helpers.megatron_models import SMALL, weights, write_deepspeedai
from hypothesis import given
from hypothesis import strategies as st

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny"
NOW = RetentionRule(idle_s=0)
STATES, LAYER = "mp_rank_00_model_states.pt", "layer_03-model_00-model_states.pt"
OPTIMIZER = "zero_pp_rank_0_mp_rank_00_optim_states.pt"
NAMES = (LAYER.replace("03", "01"), LAYER, LAYER.replace("03", "05"), OPTIMIZER)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint of one layer."""
    step = tmp_path_factory.mktemp("whole") / "global_step0"
    step.mkdir()
    for name in NAMES:
        torch.save({"weight": torch.zeros(2)}, step / name)
    torch.save(
        {"args": {"num_layers": 1, "bf16": False}, "dp_world_size": 1, "mp_world_size": 1},
        step / STATES,
    )
    return step


@pytest.fixture
def run(tmp_path: Path, whole: Path) -> Path:
    """Steps 10, 20, … 60, `latest` at the last."""
    for step in range(10, 70, 10):
        shutil.copytree(whole, tmp_path / f"global_step{step}")
    (tmp_path / "latest").write_text("global_step60")
    return tmp_path


def going(folder: Path, rule: RetentionRule = NOW) -> set[str]:
    return {entry.path.name for entry in prune.survey(folder, rule) if entry.delete}


def by_name(folder: Path, rule: RetentionRule = NOW) -> dict[str, PruneEntry]:
    return {entry.path.name: entry for entry in prune.survey(folder, rule)}


def steps(*numbers: int) -> set[str]:
    return {f"global_step{number}" for number in numbers}


def test_without_a_rule_whole_checkpoints_stay(run: Path) -> None:
    assert going(run) == set()


@pytest.mark.parametrize(
    ("every", "last", "expected"),
    [
        (None, 1, {10, 20, 30, 40, 50}),
        (None, 2, {10, 20, 30, 40}),
        (None, 99, set()),
        (20, None, {10, 30, 50}),
        (7, None, {10, 20, 30, 40, 50}),
        (1, None, set()),
        (30, 2, {10, 20, 40}),
    ],
)
def test_the_rule_keeps_the_union(
    run: Path, every: int | None, last: int | None, expected: set[int]
) -> None:
    assert going(run, RetentionRule(every, last, 0)) == steps(*expected)


@pytest.mark.parametrize("rule", [(0, None), (None, 0), (-1, None)])
def test_a_rule_that_keeps_nothing_is_refused(rule: tuple[int | None, int | None]) -> None:
    with pytest.raises(UsageError, match="would keep nothing"):
        RetentionRule(*rule)


def test_what_latest_names_stays_beside_the_newest(run: Path) -> None:
    (run / "latest").write_text("global_step20")
    assert going(run, RetentionRule(last=1, idle_s=0)) == steps(10, 30, 40, 50)
    assert "newer than global_step20" in by_name(run)["global_step50"].reason
    shutil.rmtree(run / "global_step20")
    assert going(run, RetentionRule(last=1, idle_s=0)) == steps(10, 30, 40, 50)


@examples(60)
@given(
    st.dictionaries(
        st.integers(1, 8), st.sampled_from(["whole", "weights", "torn", "orphaned"]), max_size=8
    ),
    st.integers(0, 9),
    st.one_of(st.none(), st.integers(1, 4)),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_what_training_would_go_on_from_never_goes(
    tmp_path_factory: pytest.TempPathFactory,
    whole: Path,
    kinds: dict[int, str],
    named: int,
    every: int | None,
    last: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    for step, kind in kinds.items():
        path = Path(shutil.copytree(whole, folder / f"global_step{step}"))
        missing = {"weights": OPTIMIZER, "torn": LAYER, "orphaned": STATES}.get(kind)
        if missing:
            (path / missing).unlink()
    if named:
        (folder / "latest").write_text(f"global_step{named}")
    before = step_folder.newest(folder).step, step_folder.newest(folder, optimizer=False).step
    highest = max((step for step, kind in kinds.items() if kind == "whole"), default=None)
    rule = RetentionRule(every, last, 0)
    list(prune.delete(prune.survey(folder, rule), rule))
    assert (
        step_folder.newest(folder).step,
        step_folder.newest(folder, optimizer=False).step,
    ) == before
    left = {int(path.name.removeprefix("global_step")) for path in folder.glob("global_step*")}
    assert highest is None or highest in left
    assert bool(kinds) == bool(left)
    assert not [step for step in left & set(kinds) if going(folder, rule)]
    if every:
        assert {
            step
            for step, kind in kinds.items()
            if kind in ("whole", "weights") and step % every == 0
        } <= left


@pytest.mark.parametrize("name", [LAYER, STATES])
@pytest.mark.parametrize("kept", [0, 0.5])
def test_torn_ones_go_and_say_why(run: Path, name: str, kept: float) -> None:
    path = run / "global_step30" / name
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    assert going(run) == steps(30)
    assert (
        by_name(run)["global_step30"].state == prune.TORN
        and name in by_name(run)["global_step30"].reason
    )


def test_layers_without_states_are_orphaned(run: Path) -> None:
    (run / "global_step30" / STATES).unlink()
    (run / "global_step70").mkdir()
    found = by_name(run)
    assert found["global_step30"].state == found["global_step70"].state == prune.ORPHANED
    assert going(run) == steps(30, 70)


def test_genuine_checkpoints_of_one_and_two_tensor_ranks_are_known() -> None:
    states = [prune.survey(GENUINE / tp / "checkpoint", NOW)[0].state for tp in ("tp1", "tp2")]
    assert states == [prune.WHOLE, prune.WEIGHTS]


def test_pipeline_stages_have_states_but_no_layers_of_their_own(run: Path) -> None:
    step = run / "global_step30"
    arguments = {
        "num_layers": 1,
        "bf16": False,
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": 2,
    }
    for rank in (0, 1):
        states = {"args": arguments, "dp_world_size": 1, "mp_world_size": 2}
        torch.save(states, step / f"mp_rank_0{rank}_model_states.pt")
    torch.save({}, step / "zero_pp_rank_0_mp_rank_01_optim_states.pt")
    assert step_folder.incomplete(step) is None
    (step / "mp_rank_01_model_states.pt").unlink()
    assert step_folder.incomplete(step) == "mp_rank_01_model_states.pt is missing"


def test_what_the_kit_does_not_understand_stays(run: Path) -> None:
    whole_states = torch.load(run / "global_step10" / STATES, weights_only=True)
    torch.save(
        whole_states | {"module": {"weight": torch.zeros(1)}}, run / "global_step10" / STATES
    )
    (run / "global_step10" / LAYER).unlink()
    torch.save({"args": {}}, run / "global_step20" / STATES)
    torch.save(whole_states, run / "global_step30" / STATES, _use_new_zipfile_serialization=False)
    torch.save({"args": {"x": pytest.raises}}, run / "global_step40" / STATES)
    (run / "global_step50" / STATES).unlink()
    (run / "global_step50" / "model.safetensors").write_bytes(b"mine")
    found = by_name(run, RetentionRule(last=1, idle_s=0))
    assert {name for name, entry in found.items() if entry.state == prune.UNKNOWN} == steps(
        10, 20, 30, 40, 50
    )
    assert not any(entry.delete for entry in found.values())


@pytest.fixture
def deepspeedai(tmp_path: Path) -> Path:
    """Steps 7, 8 and 9 of a run of deepspeedai's fork, two tensor ranks, two pipeline stages."""
    layers = weights(SMALL)
    step = write_deepspeedai(tmp_path / "run", SMALL, layers, tensor=2, pipeline=2)
    for model_rank in range(4):
        path = step / f"zero_pp_rank_0_mp_rank_{model_rank:02d}_optim_states.pt"
        torch.save({"weight": torch.zeros(2)}, path)
    for number in (8, 9):
        shutil.copytree(step, step.with_name(f"global_step{number}"))
    return step.parent


def test_deepspeedais_checkpoints_are_whole(deepspeedai: Path) -> None:
    assert {entry.state for entry in prune.survey(deepspeedai, NOW)} == {prune.WHOLE}
    assert going(deepspeedai) == set()
    assert going(deepspeedai, RetentionRule(last=2, idle_s=0)) == {"global_step7"}


def test_deepspeedais_torn_ones_are_torn(deepspeedai: Path) -> None:
    (deepspeedai / "global_step7" / "layer_04-model_01-model_states.pt").unlink()
    os.truncate(deepspeedai / "global_step8" / "layer_02-model_00-model_states.pt", 100)
    assert going(deepspeedai) == steps(7, 8)
    assert "layer_04-model_01" in by_name(deepspeedai)["global_step7"].reason


def test_layers_that_their_arguments_do_not_explain_are_not_torn(deepspeedai: Path) -> None:
    """Another fork's numbers, an untied output layer, ranks that are not stated."""
    step = deepspeedai / "global_step7"
    layer = step / "layer_04-model_00-model_states.pt"
    shutil.copy(layer, step / "layer_05-model_00-model_states.pt")
    layer = deepspeedai / "global_step8" / layer.name
    layer.rename(layer.with_name("layer_06-model_00-model_states.pt"))
    found = by_name(deepspeedai, RetentionRule(last=1, idle_s=0))
    for name, number in (("global_step7", 5), ("global_step8", 6)):
        assert (found[name].state, found[name].delete) == (prune.UNKNOWN, False)
        assert f"has layer_0{number}-model_00" in found[name].reason


def test_states_of_stage_3_are_not_called_orphaned(run: Path) -> None:
    step = run / "global_step10"
    (step / STATES).rename(step / f"zero_pp_rank_0_{STATES}")
    found = by_name(run, RetentionRule(last=1, idle_s=0))["global_step10"]
    assert (found.state, found.delete) == (prune.UNKNOWN, False) and "stage 3" in found.reason


def test_what_cannot_be_read_or_judged_is_not_torn(
    run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A failing file system, layer files in the old format, harmful and damaged states."""
    canary = tmp_path_factory.mktemp("harm") / "canary"
    layer = run / "global_step20" / LAYER
    torch.save({"weight": torch.zeros(2)}, layer, _use_new_zipfile_serialization=False)
    torch.save({"args": exploits(canary)["os.system"]}, run / "global_step30" / STATES)
    whole_states = torch.load(run / "global_step10" / STATES, weights_only=True)
    torch.save(whole_states | {"dp_world_size": -1}, run / "global_step40" / STATES)
    is_torn = torch_zip.is_torn

    def failing(path: Path) -> bool:
        if path == run / "global_step10" / LAYER:  # as a file system that has lost a server
            raise OSError(5, "Input/output error", str(path))
        return is_torn(path)

    monkeypatch.setattr(torch_zip, "is_torn", failing)
    entries = by_name(run, RetentionRule(last=1, idle_s=0))
    reasons = {
        "global_step10": "Input/output error",
        "global_step20": "torch before 1.6",
        "global_step30": "could run code",
        "global_step40": "dp_world_size -1",
    }
    for name, reason in reasons.items():
        assert entries[name].state == prune.UNKNOWN and not entries[name].delete
        assert reason in entries[name].reason
    assert not canary.exists()


def test_what_changed_a_short_time_ago_stays(run: Path) -> None:
    (run / "global_step70").mkdir()
    (run / "global_step70" / LAYER).write_bytes(b"being written")
    (run / ".global_step80.unfinished").mkdir()
    assert going(run, RetentionRule(last=1)) == set()
    assert "changed 0 minutes ago" in by_name(run, RetentionRule())["global_step70"].reason
    old = time.time() - 7200
    for path in run.rglob("*"):
        os.utime(path, (old, old))
    assert going(run, RetentionRule(last=1)) == {
        ".global_step80.unfinished",
        *steps(10, 20, 30, 40, 50, 70),
    }
    later = time.time() + 7200
    os.utime(run / "global_step70" / LAYER, (later, later))
    assert "global_step70" not in going(run, RetentionRule())


def test_what_killed_writes_left_goes_but_for_the_only_copy(run: Path) -> None:
    for name in (
        ".global_step60.replaced",
        ".global_step90.unfinished",
        ".global_step90.replaced",
        ".global_step5.removed",
    ):
        (run / name).mkdir()
    (run / ".global_step70.unfinished").mkdir()
    assert going(run) == {
        ".global_step60.replaced",
        ".global_step70.unfinished",
        ".global_step5.removed",
    }
    assert "only" not in by_name(run)[".global_step60.replaced"].reason
    assert "global_step90 itself does not exist" in by_name(run)[".global_step90.replaced"].reason


def test_links_and_other_names_are_left_alone(
    run: Path, tmp_path_factory: pytest.TempPathFactory, whole: Path
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    shutil.copytree(whole, outside / "global_step1")
    (run / "global_step1").symlink_to(outside / "global_step1")
    (run / ".global_step2.removed").symlink_to(outside)
    (run / "global_step3").write_text("a file")
    for name in (
        "global_step4.bak",
        "global_step",
        "xglobal_step5",
        "Global_step5",
        "global_step-5",
        "tensorboard",
    ):
        (run / name).mkdir()
    (run / "global_step10" / STATES).unlink()
    (run / "global_step10" / "linked").symlink_to(outside)
    (run / "global_step10" / "linked").unlink()
    (run / "global_step10" / "layer_07-model_00-model_states.pt").symlink_to(
        outside / "global_step1" / LAYER
    )
    rule = RetentionRule(last=1, idle_s=0)
    assert going(run, rule) == steps(10, 20, 30, 40, 50)
    list(prune.delete(prune.survey(run, rule), rule))
    assert len(list((outside / "global_step1").iterdir())) == 5
    assert (
        (run / "global_step1").is_symlink()
        and (run / "global_step4.bak").is_dir()
        and (run / "latest").is_file()
    )


def test_bytes_are_those_that_removal_frees(run: Path) -> None:
    step = run / "global_step10"
    size = sum(path.stat().st_size for path in step.iterdir())
    assert by_name(run)["global_step10"].bytes == size
    os.link(step / LAYER, run / "kept elsewhere")
    (step / "link").symlink_to(run / "global_step20" / LAYER)
    assert by_name(run)["global_step10"].bytes == size - (step / LAYER).stat().st_size


def test_a_checkpoint_that_came_into_use_after_the_survey_stays(run: Path) -> None:
    rule = RetentionRule(last=1, idle_s=0)
    found = prune.survey(run, rule)
    (run / "latest").write_text("global_step20")
    assert {gone.path.name for gone in prune.delete(found, rule)} == steps(10, 30, 40, 50)
    found = [entry for entry in prune.survey(run, NOW) if entry.step == 20]
    assert (
        list(prune.delete([replace(entry, delete=True) for entry in found], RetentionRule())) == []
    )


def test_a_folder_of_no_checkpoints_is_refused(run: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "absent", run / "global_step10", run / "latest"):
        with pytest.raises(CheckpointError, match="is not a folder of checkpoints"):
            prune.survey(path, NOW)


def test_without_permission_nothing_is_assumed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refusing(path: Path | str) -> object:
        if Path(path).name == "global_step10":  # as the kernel would anyone but root
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = by_name(run, RetentionRule(last=1, idle_s=0))["global_step10"]
    assert (found.state, found.delete) == (
        prune.UNKNOWN,
        False,
    ) and "may not be read" in found.reason


def test_what_cannot_be_removed_is_an_error_and_the_next_call_goes_on(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = RetentionRule(last=1, idle_s=0)

    def refused(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    with (
        monkeypatch.context() as patch,
        pytest.raises(OutputError, match=r"global_step10 could not be removed: Oper"),
    ):
        patch.setattr(shutil, "rmtree", refused)
        list(prune.delete(prune.survey(run, rule), rule))
    assert (run / ".global_step10.removed").is_dir()
    list(prune.delete(prune.survey(run, rule), rule))
    assert {path.name for path in run.iterdir()} == {"global_step60", "latest"}


def test_the_command_is_dry_until_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(run.rglob("*"))
    arguments = [str(run), "--keep-last", "2", "--idle", "0"]
    assert prune_checkpoints.main(arguments) == 0
    said = capsys.readouterr()
    assert sorted(run.rglob("*")) == before
    lines = [line.split() for line in said.out.splitlines()]
    assert [line[0] for line in lines[1:]] == ["delete"] * 4 + ["keep"] * 2
    size = sum(
        path.stat().st_size
        for step in (10, 20, 30, 40)
        for path in (run / f"global_step{step}").iterdir()
    )
    assert f"({size:,} bytes) would be freed by --delete: 4 of 6 folders" in said.err
    assert prune_checkpoints.main([*arguments, "--delete", "--json"]) == 0
    said = capsys.readouterr()
    assert f"({size:,} bytes) freed: 4 of 6 folders" in said.err
    assert {path.name for path in run.iterdir()} == {"global_step50", "global_step60", "latest"}


@pytest.mark.parametrize("levels", [1, 2])
def test_a_folder_of_runs_is_not_taken_for_a_run_without_checkpoints(
    run: Path, tmp_path_factory: pytest.TempPathFactory, levels: int
) -> None:
    top = tmp_path_factory.mktemp("workspace")
    place = top / "checkpoints" if levels == 2 else top
    place.mkdir(exist_ok=True)
    shutil.move(run, place / "my-run")
    with pytest.raises(CheckpointError, match="my-run does") as raised:
        prune.survey(top, NOW)
    assert raised.value.hint.endswith("/*" * levels)


def test_a_folder_of_other_things_is_named_and_one_of_a_new_run_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".latest.lock").touch()
    assert prune.survey(tmp_path, NOW) == []
    (tmp_path / "events.out").touch()
    with pytest.raises(CheckpointError, match=r"holds events\.out, but no checkpoints"):
        prune.survey(tmp_path, NOW)


def test_what_changed_in_the_future_is_in_use(run: Path) -> None:
    rule = RetentionRule(last=1, idle_s=60)
    later = time.time() + 7200
    for path in [*run.rglob("*"), *run.iterdir()]:
        os.utime(path, (later, later))
    assert going(run, rule) == set()
    assert "this machine's clock" in by_name(run, rule)["global_step10"].reason


def test_a_clock_that_is_ahead_makes_nothing_idle(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 7200)
    rule = RetentionRule(last=1, idle_s=3600)
    entries = prune.survey(run, rule)
    assert [entry for entry in entries if entry.delete]
    assert list(prune.delete(entries, rule)) == []
    assert len(list(run.glob("global_step*"))) == 6
