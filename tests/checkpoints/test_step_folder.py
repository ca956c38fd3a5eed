"""Checkpoints: genuine ones are read, torn ones passed over, and nothing that a file says is executed."""

import argparse
import pickle
import resource
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.utils.cpp_extension
from encore.checkpoints import (
    file_names,
    inert_pickle,
    megatron_reader,
    model_states,
    step_folder,
    torch_file,
)
from encore.errors import CheckpointError, OutputError
from helpers.exploits import exploits
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_genuine_checkpoint_is_read_without_its_packages() -> None:
    states = model_states.read(STEP)
    saved = states.arguments
    assert (saved["num_layers"], saved["padded_vocab_size"], saved["consumed_train_samples"]) == (
        2,
        5120,
        160,
    )
    position = saved["position_embedding_type"]
    assert (
        isinstance(position, inert_pickle.StandIn)
        and position.name == "megatron.enums.PositionEmbeddingType"
    )
    assert states.raw["lr_scheduler"]["decay_style"] == "cosine" and states.data_ranks == 2
    optimizer = torch_file.load(STEP / file_names.optimizer_file(1, bf16=True))[
        "optimizer_state_dict"
    ]
    assert optimizer["base_optimizer_state"]["state"][0]["exp_avg"].shape == (87040,)
    assert isinstance(optimizer["loss_scaler"], inert_pickle.StandIn)


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


@pytest.mark.parametrize("name", exploits(Path("x")))
@pytest.mark.parametrize("hidden_in", ["value", "namespace", "key"])
def test_no_exploit_runs_and_each_is_refused_by_name(
    name: str, hidden_in: str, tmp_path: Path
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "evil.pt"
    exploit = exploits(canary)[name]
    if hidden_in == "namespace":
        torch.save({"args": argparse.Namespace(num_layers=exploit)}, path)
    else:
        torch.save({"args": [exploit]} if hidden_in == "value" else {(exploit, 1): 0}, path)
    with pytest.raises(CheckpointError, match=r"could run code|cannot be read") as caught:
        torch_file.load(path)
    assert str(path) in str(caught.value)
    if name == "os.system":
        assert "system" in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("name", exploits(Path("x")))
@pytest.mark.parametrize("mapped", [False, True])
def test_no_exploit_runs_from_the_old_file_format_nor_a_mapped_file(
    name: str, mapped: bool, tmp_path: Path
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "evil.pt"
    held = {
        "optimizer_state_dict": {
            "state": OrderedDict(step=exploits(canary)[name]),
            "x": torch.ones(2),
        }
    }
    torch.save(held, path, _use_new_zipfile_serialization=mapped)
    with pytest.raises(CheckpointError):
        torch_file.load(path, mapped)
    assert not canary.exists()


def test_the_exploits_are_real(tmp_path: Path) -> None:
    """Loaded without care they leave their mark: refusing them proves something."""
    harmful = (
        "os.system",
        "exec",
        "functools.partial",
        "a pickle in torch's storage",
        "numpy's reconstruct",
    )
    canaries = {name: tmp_path / f"canary{index}" for index, name in enumerate(harmful)}
    for name, canary in canaries.items():
        torch.save({"args": exploits(canary)[name]}, canary.with_suffix(".pt"))
    code = "import contextlib, sys, torch\nfor path in sys.argv[1:]:\n with contextlib.suppress(Exception):\n"
    command = [sys.executable, "-c", code + "  torch.load(path, weights_only=False)"]
    subprocess.run(
        [*command, *(canary.with_suffix(".pt") for canary in canaries.values())], check=True
    )
    assert [name for name, canary in canaries.items() if not canary.exists()] == []


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_exploit_runs_in_any_pickle_protocol(protocol: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = pickle.dumps({"args": exploits(canary)["os.system"]}, protocol=protocol)
    bare, zipped = tmp_path / "bare.pt", tmp_path / "zipped.pt"
    bare.write_bytes(data)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    for path in (bare, zipped):
        with pytest.raises(CheckpointError):
            torch_file.load(path)
    assert not canary.exists()


def test_functions_of_packages_that_stand_in_are_not_called(tmp_path: Path) -> None:
    call = b"\x80\x02cnumpy.testing\nrundocs\nX\x01\x00\x00\x00x\x85R."
    path = tmp_path / "inert.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", call)
        archive.writestr("archive/version", "3\n")
    loaded = torch_file.load(path)
    assert (
        isinstance(loaded, inert_pickle.StandIn)
        and loaded.name == "numpy.testing.rundocs"
        and loaded.values == ("x",)
    )


@given(
    position=st.integers(min_value=0, max_value=30_000),
    byte=st.integers(min_value=0, max_value=255),
)
def test_a_damaged_file_gives_a_checkpoint_error_or_a_value(
    position: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray((STEP / file_names.layer_file(3)).read_bytes())
    damaged[position % len(damaged)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(damaged)
    try:
        torch_file.load(path)
    except CheckpointError as error:
        assert str(path) in str(error)


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
