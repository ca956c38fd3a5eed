"""Folders of checkpoints: the newest complete one is found, torn ones are passed over."""

import errno
import os
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.cpp_extension
from encore.checkpoints import (
    file_names,
    megatron_reader,
    step_folder,
    torch_file,
)
from encore.errors import OutputError, UnreadableError

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny"
STEP = GENUINE / "tp1" / "checkpoint" / "global_step20"


def write(folder: Path, iteration: int, value: float = 0.0) -> Path:
    """A whole checkpoint of a one-layer model."""
    step_folder.begin(folder, iteration)
    unfinished = step_folder.unfinished(folder, iteration)
    for number in (1, 3, 5):
        torch_file.save(
            unfinished / file_names.layer_file(number), {"weight": torch.full((2,), value)}
        )
    torch_file.save(
        unfinished / file_names.optimizer_file(0, bf16=False), {"exp_avg": torch.zeros(2)}
    )
    states = {"args": {"num_layers": 1, "bf16": False}, "dp_world_size": 1, "mp_world_size": 1}
    torch_file.save(unfinished / file_names.model_states_file(), states)
    return step_folder.finish(folder, iteration)


def test_a_genuine_checkpoint_is_complete() -> None:
    assert step_folder.newest(STEP.parent) == step_folder.NewestCheckpoint(STEP, ())


def test_layers_bear_megatrons_numbers_and_shapes() -> None:
    layers = megatron_reader.read(STEP).weights()
    assert sorted(layers) == [1, 3, 4, 6]
    assert layers[3]["self_attention.query_key_value.weight"].shape == (96, 32)


def test_tensor_parallel_parts_are_put_together() -> None:
    whole = megatron_reader.read(STEP).weights()
    joined = megatron_reader.read(GENUINE / "tp2" / "checkpoint").weights()
    shapes = {
        number: {name: value.shape for name, value in layer.items()}
        for number, layer in whole.items()
    }
    assert shapes == {
        number: {name: v.shape for name, v in layer.items()} for number, layer in joined.items()
    }


@pytest.mark.parametrize(
    "name", ["layer_03-model_00-model_states.pt", "mp_rank_00_model_states.pt"]
)
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_file_makes_a_checkpoint_incomplete(
    name: str, kept: float, tmp_path: Path
) -> None:
    write(tmp_path, 1)
    step = write(tmp_path, 2)
    path = step / name
    data = path.read_bytes()
    path.write_bytes(data[: int(kept if kept > 1 else kept * len(data))])
    found = step_folder.newest(tmp_path)
    assert found.step == tmp_path / "global_step1"
    assert (
        len(found.passed_over) == 1
        and str(step) in found.passed_over[0]
        and name in found.passed_over[0]
    )


def test_each_missing_file_makes_a_checkpoint_incomplete(tmp_path: Path) -> None:
    names = [path.name for path in write(tmp_path, 1).iterdir()]
    assert len(names) == 5
    for name in names:
        step = write(tmp_path, 1)
        (step / name).unlink()
        assert name in (step_folder.incomplete(step) or "")
        needed = "optim" not in name
        assert (step_folder.incomplete(step, optimizer=False) is not None) == needed


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_what_cannot_be_read_now_is_not_called_torn_nor_passed_over(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)
    states = write(tmp_path, 2) / "mp_rank_00_model_states.pt"
    real = zipfile.ZipFile

    def refuse(path: Path, *args: Any) -> zipfile.ZipFile:
        if path == states:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *args)

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(UnreadableError, match=f"{states} cannot be read now: .*") as caught:
        step_folder.newest(tmp_path)
    assert "torn" not in str(caught.value) and caught.value.hint


def test_a_checkpoint_of_a_trainer_that_is_not_known_is_not_passed_over(tmp_path: Path) -> None:
    """Resumed from the one before, a run would replace it."""
    write(tmp_path, 1)
    step = write(tmp_path, 2)
    (step / file_names.layer_file(5)).rename(step / file_names.layer_file(2))
    with pytest.raises(UnreadableError, match="has layer_02-model_00-model_states"):
        step_folder.newest(tmp_path)


def test_a_folder_in_place_of_a_file_is_not_called_torn(tmp_path: Path) -> None:
    states = write(tmp_path, 2) / "mp_rank_00_model_states.pt"
    states.unlink()
    states.mkdir()
    with pytest.raises(UnreadableError, match="is a folder, not a file"):
        step_folder.newest(tmp_path)


def test_latest_decides_and_else_the_highest_step(tmp_path: Path) -> None:
    for iteration in (2, 10, 9):
        write(tmp_path, iteration)
    assert step_folder.newest(tmp_path).step == tmp_path / "global_step9"
    for text in ("global_step11", "../elsewhere", "", "\0"):
        (tmp_path / "latest").write_text(text)
        assert step_folder.newest(tmp_path).step == tmp_path / "global_step10"
    (tmp_path / "latest").unlink()
    assert step_folder.newest(tmp_path).step == tmp_path / "global_step10"


def test_a_folder_without_checkpoints_has_no_newest(tmp_path: Path) -> None:
    assert step_folder.newest(tmp_path) == step_folder.NewestCheckpoint(None, ())
    assert step_folder.newest(tmp_path / "absent") == step_folder.NewestCheckpoint(None, ())


def test_a_write_that_is_not_finished_changes_nothing(tmp_path: Path) -> None:
    first = write(tmp_path, 1)
    step_folder.begin(tmp_path, 2)
    torch_file.save(
        step_folder.unfinished(tmp_path, 2) / file_names.layer_file(1), {"weight": torch.zeros(1)}
    )
    assert step_folder.newest(tmp_path) == step_folder.NewestCheckpoint(first, ())
    second = write(tmp_path, 2)
    assert step_folder.newest(tmp_path).step == second
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "global_step1",
        "global_step2",
        "latest",
    ]


def test_a_write_killed_between_its_renames_costs_no_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 1)
    second = write(tmp_path, 2, value=1.0)
    step_folder.begin(tmp_path, 2)
    second.rename(tmp_path / ".global_step2.replaced")  # what files.finish_folder does first
    assert step_folder.newest(tmp_path).step == tmp_path / "global_step1"
    step_folder.begin(tmp_path, 3)
    assert step_folder.newest(tmp_path).step == second
    assert torch_file.load(second / file_names.layer_file(3))["weight"].tolist() == [1.0, 1.0]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".global_step3.unfinished", "global_step1", "global_step2", "latest"]


def test_writing_a_step_again_replaces_it(tmp_path: Path) -> None:
    write(tmp_path, 1, value=1.0)
    step = write(tmp_path, 1, value=2.0)
    assert torch_file.load(step / file_names.layer_file(3))["weight"].tolist() == [2.0, 2.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["global_step1", "latest"]


def test_a_full_disk_is_an_output_error_and_leaves_the_one_before(tmp_path: Path) -> None:
    first = write(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    step_folder.begin(tmp_path, 2)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(OutputError, match="could not be written"):
            torch_file.save(
                step_folder.unfinished(tmp_path, 2) / file_names.layer_file(1), torch.zeros(100_000)
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert step_folder.newest(tmp_path).step == first


def test_what_is_written_needs_no_allow_list(tmp_path: Path) -> None:
    for path in write(tmp_path, 1).iterdir():
        torch.load(path, weights_only=True)
