"""Reading .pt files, with torch and without: genuine ones are read, nothing is executed."""

import argparse
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from encore.checkpoints import file_names, inert_pickle, torch_file
from encore.checkpoints.inert_pickle import StandIn
from encore.errors import CheckpointError
from helpers.exploits import exploits
from hypothesis import given
from hypothesis import strategies as st

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny"
STEP = GENUINE / "tp1" / "checkpoint" / "global_step20"
READERS = {"with torch": torch_file.load, "without torch": inert_pickle.read}

Reader = Callable[[Path], Any]
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


def write_pickle(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """A file as torch.save writes it, around any pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return path


@readers
def test_a_genuine_checkpoint_is_read_without_its_packages(read: Reader) -> None:
    states = read(STEP / file_names.model_states_file())
    saved = vars(states["args"])
    assert (saved["num_layers"], saved["padded_vocab_size"]) == (2, 5120)
    assert saved["consumed_train_samples"] == 160
    position = saved["position_embedding_type"]
    assert (position.name, position.values) == ("megatron.enums.PositionEmbeddingType", (2,))
    assert states["lr_scheduler"]["decay_style"] == "cosine" and states["dp_world_size"] == 2


def getattr_of(module: str, name: str, attribute: str) -> bytes:
    """{"x": getattr(module.name, attribute)}, as Python 3.11.2 pickles a member of an enum."""
    text = attribute.encode()
    pair = f"c{module}\n{name}\n".encode() + b"X" + len(text).to_bytes(4, "little") + text
    return b"\x80\x02}X\x01\x00\x00\x00xc__builtin__\ngetattr\n" + pair + b"\x86Rs."


@readers
def test_a_member_of_an_enum_is_read_by_name_too(read: Reader, tmp_path: Path) -> None:
    pickled = getattr_of("megatron.enums", "PositionEmbeddingType", "absolute")
    position = read(write_pickle(tmp_path / "a.pt", pickled))["x"]
    assert (position.name, position.values) == (
        "megatron.enums.PositionEmbeddingType",
        ("absolute",),
    )


@readers
@pytest.mark.parametrize(
    ("module", "name", "attribute"),
    [
        ("os", "system", "__call__"),
        ("posix", "system", "__call__"),
        ("__builtin__", "eval", "__call__"),
        ("__builtin__", "getattr", "__self__"),
        ("argparse", "Namespace", "__init__"),
        ("argparse", "ArgumentParser", "exit"),
        ("torch", "Size", "__reduce__"),
    ],
)
def test_no_attribute_of_anything_else_is_taken(
    read: Reader, module: str, name: str, attribute: str, tmp_path: Path
) -> None:
    path = write_pickle(tmp_path / "a.pt", getattr_of(module, name, attribute))
    try:
        value = read(path)["x"]
    except CheckpointError:
        return
    assert isinstance(value, StandIn)


def test_optimizer_states_have_tensors_and_stand_ins() -> None:
    states = torch_file.load(STEP / file_names.optimizer_file(1, bf16=True))
    optimizer = states["optimizer_state_dict"]
    assert optimizer["base_optimizer_state"]["state"][0]["exp_avg"].shape == (87040,)
    assert isinstance(optimizer["loss_scaler"], StandIn)


def without_objects(value: Any) -> Any:
    """A value in which all that is no plain value has the same name, however it was read."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if isinstance(value, dict):
        return {name: without_objects(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return list(map(without_objects, value))
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    return "an object"


@pytest.mark.parametrize("path", sorted(GENUINE.rglob("*.pt")), ids=lambda path: path.name)
def test_both_readers_agree_on_genuine_files(path: Path) -> None:
    assert without_objects(inert_pickle.read(path)) == without_objects(torch_file.load(path))


@readers
@pytest.mark.parametrize("name", exploits(Path("x")))
@pytest.mark.parametrize("hidden_in", ["value", "namespace", "key"])
def test_no_exploit_runs_and_each_is_refused_by_name(
    name: str, hidden_in: str, read: Reader, tmp_path: Path
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "evil.pt"
    exploit = exploits(canary)[name]
    if hidden_in == "namespace":
        torch.save({"args": argparse.Namespace(num_layers=exploit)}, path)
    else:
        torch.save({"args": [exploit]} if hidden_in == "value" else {(exploit, 1): 0}, path)
    with pytest.raises(CheckpointError, match=r"could run code|cannot be read") as caught:
        read(path)
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
    state = OrderedDict(step=exploits(canary)[name])
    content = {"optimizer_state_dict": {"state": state, "x": torch.ones(2)}}
    torch.save(content, path, _use_new_zipfile_serialization=mapped)
    with pytest.raises(CheckpointError):
        torch_file.load(path, mapped)
    with pytest.raises(CheckpointError):
        inert_pickle.read(path)
    assert not canary.exists()


@pytest.mark.slow
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
    code = (
        "import contextlib, sys, torch\n"
        "for path in sys.argv[1:]:\n"
        " with contextlib.suppress(Exception):\n"
        "  torch.load(path, weights_only=False)"
    )
    paths = [canary.with_suffix(".pt") for canary in canaries.values()]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
    assert [name for name, canary in canaries.items() if not canary.exists()] == []


@readers
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_no_exploit_runs_in_any_pickle_protocol(
    protocol: int, read: Reader, tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    data = pickle.dumps({"args": exploits(canary)["os.system"]}, protocol=protocol)
    bare = tmp_path / "bare.pt"
    bare.write_bytes(data)
    for path in (bare, write_pickle(tmp_path / "zipped.pt", data)):
        with pytest.raises(CheckpointError):
            read(path)
    assert not canary.exists()


@readers
def test_functions_of_packages_that_stand_in_are_not_called(read: Reader, tmp_path: Path) -> None:
    call = b"\x80\x02cnumpy.testing\nrundocs\nX\x01\x00\x00\x00x\x85R."
    stand_in = read(write_pickle(tmp_path / "inert.pt", call))
    assert isinstance(stand_in, StandIn)
    assert (stand_in.name, stand_in.values) == ("numpy.testing.rundocs", ("x",))


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02}K\x01R.",  # a call of a dictionary
        b"\x80\x02K\x01}b.",  # the state of a number
        b"\x80\x02K\x01K\x02a.",  # an append to a number
        b"\x80\x02]K\x01K\x02s.",  # an item of a list
        b"\x80\x02}(K\x01u.",  # a key without a value
        b"\x80\x02}]K\x01s.",  # a list for a key
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x05\x00\x00\x00rot13\x86R.",
        b"\x80\x02ctorch\nSize\nK\x05\x85R.",  # a size of a number
        b"\x80\x02h\x07.",  # what was never memorized
        b"\x80\x02t.",  # a tuple without a mark
        b"\x80\x02ccollections\ndeque\n.",
        b"\x80\x02citertools\ncount\n)R.",
        b"\x80\x02",
        b"\x80\x02.",
        b"",
    ],
)
def test_pickles_in_disorder_are_refused(pickled: bytes, tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "strange.pt", pickled)
    with pytest.raises(CheckpointError, match=r"strange\.pt (cannot be read|holds)"):
        inert_pickle.read(path)


def test_a_compressed_description_is_not_unpacked(tmp_path: Path) -> None:
    """A few kilobytes could unpack to gigabytes."""
    plain = pickle.dumps({"x": 1}, protocol=2)
    assert inert_pickle.read(write_pickle(tmp_path / "stored.pt", plain)) == {"x": 1}
    path = write_pickle(tmp_path / "packed.pt", plain, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed"):
        inert_pickle.read(path)


@given(
    position=st.integers(min_value=0, max_value=30_000),
    byte=st.integers(min_value=0, max_value=255),
)
def test_a_damaged_file_gives_a_checkpoint_error_or_a_value(
    position: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for name in (file_names.layer_file(3), file_names.model_states_file()):
        damaged = bytearray((STEP / name).read_bytes())
        damaged[position % len(damaged)] = byte
        path = tmp_path_factory.getbasetemp() / "damaged.pt"
        path.write_bytes(damaged)
        for read in READERS.values():
            try:
                read(path)
            except CheckpointError as error:
                assert str(path) in str(error)


@given(position=st.integers(0, 20_000), byte=st.integers(0, 255))
def test_a_damaged_pickle_gives_a_checkpoint_error_or_a_value(
    position: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Past the zip file's checksum, which notices most damage."""
    with zipfile.ZipFile(STEP / file_names.model_states_file()) as archive:
        damaged = bytearray(archive.read("mp_rank_00_model_states/data.pkl"))
    damaged[position % len(damaged)] = byte
    path = write_pickle(tmp_path_factory.getbasetemp() / "pickle.pt", bytes(damaged))
    try:
        inert_pickle.read(path)
    except CheckpointError as error:
        assert str(path) in str(error)
