"""Files of torch.save: a flipped bit anywhere is noticed, or changes nothing."""

import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from encore.checkpoints import (
    file_names,
    inert_pickle,
    inspect,
    prune,
    safetensors_shards,
    step_folder,
    torch_file,
    torch_zip,
)
from encore.checkpoints.prune import RetentionRule
from encore.errors import CheckpointError, UnreadableError
from helpers.commands import run_command

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny" / "tp1" / "checkpoint"
LAYER = file_names.layer_file(3)
OPTIMIZER = file_names.optimizer_file(1, bf16=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Steps 10 and 20 of a run, both whole."""
    folder = Path(shutil.copytree(GENUINE, tmp_path / "run"))
    shutil.copytree(folder / "global_step20", folder / "global_step10")
    return folder


def largest_entry(path: Path) -> zipfile.ZipInfo:
    with zipfile.ZipFile(path) as archive:
        return max(archive.infolist(), key=lambda entry: entry.file_size)


def flip(path: Path, position: int | None = None) -> None:
    """Change one bit, of a weight unless the position says otherwise."""
    if position is None:
        entry = largest_entry(path)
        position = entry.header_offset + 30 + len(entry.filename) + entry.file_size // 2 + 64
    data = bytearray(path.read_bytes())
    data[position] ^= 4
    path.write_bytes(data)


def test_torch_itself_does_not_notice(run: Path) -> None:
    """Else none of this would be needed."""
    path = run / "global_step20" / LAYER
    before = torch.load(path)
    flip(path)
    after = torch.load(path)
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", [LAYER, OPTIMIZER, file_names.model_states_file()])
def test_a_flipped_bit_makes_resuming_pass_over_the_step(name: str, run: Path) -> None:
    flip(run / "global_step20" / name)
    newest = step_folder.newest(run)
    assert newest.step == run / "global_step10"
    assert name in newest.passed_over[0] and "checksum" in newest.passed_over[0]


@pytest.mark.parametrize("name", [LAYER, OPTIMIZER])
def test_inspect_names_the_damaged_file(name: str, run: Path) -> None:
    step = run / "global_step20"
    assert inspect.facts(step)["unreadable"] == []
    flip(step / name)
    ended = run_command("convert_checkpoint", "inspect", step)
    assert ended.returncode == 1 and name in ended.stdout and "checksum" in ended.stdout


@pytest.mark.parametrize("words", [("to-transformers",), ("reshard", "--from-optimizer")])
def test_a_conversion_of_damaged_weights_is_refused(
    words: tuple[str, ...], run: Path, tmp_path: Path
) -> None:
    name = OPTIMIZER if "--from-optimizer" in words else LAYER
    flip(run / "global_step20" / name)
    action, *more = words
    source = run / "global_step20"
    ended = run_command("convert_checkpoint", action, source, tmp_path / "out", *more)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert name in ended.stderr and "checksum" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_is_deleted_in_favour_of_a_damaged_checkpoint(run: Path) -> None:
    rule = RetentionRule(last=1, idle_s=0)
    assert [entry.path.name for entry in prune.survey(run, rule) if entry.delete] == [
        "global_step10"
    ]
    flip(run / "global_step20" / OPTIMIZER)
    ended = run_command(
        "prune_checkpoints", run, "--keep-last", 1, "--idle", 0, "--delete", cwd=run
    )
    assert ended.returncode == 0 and "checksum" in ended.stdout
    assert (run / "global_step10").is_dir() and (run / "global_step20").is_dir()


def test_any_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / LAYER
    data = (GENUINE / "global_step20" / LAYER).read_bytes()
    path.write_bytes(data)
    before = torch_file.load(path)
    unnoticed = 0
    for position in random.Random(0).sample(range(len(data)), 150):
        path.write_bytes(data)
        flip(path, position)
        try:
            after = torch_file.load(path)
        except CheckpointError as error:
            assert str(path) in str(error)
            continue
        unnoticed += 1
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)
    assert unnoticed < 150


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    """torch writes zeros in their place when it is told to compute none."""
    path = tmp_path / "x.pt"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"x": torch.ones(3)}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch_file.load(path)["x"].tolist() == [1, 1, 1]
    assert inert_pickle.read(path).keys() == {"x"}
    assert not torch_zip.is_torn(path)


def test_what_would_unpack_to_more_than_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02}.")
        archive.writestr("bomb/data/0", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="is compressed"):
        torch_file.load(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git-lfs pointer"),
        (None, "torch before 1.6"),
    ],
)
def test_what_is_no_zip_file_is_named_and_never_called_torn(
    content: bytes | None, words: str, run: Path
) -> None:
    path = run / "global_step20" / LAYER
    if content is None:
        torch.save(torch.load(path), path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(content)
    for read in (torch_file.load, inert_pickle.read, torch_zip.is_torn):
        with pytest.raises(UnreadableError, match=words) as caught:
            read(path)
        assert caught.value.hint and "torn" not in str(caught.value)
    with pytest.raises(UnreadableError, match=words):
        step_folder.newest(run)
    entries = {entry.path.name: entry for entry in prune.survey(run, RetentionRule(idle_s=0))}
    assert entries["global_step20"].state == prune.UNKNOWN and words in (
        entries["global_step20"].reason
    )


def test_a_model_in_several_pickled_files_is_read_as_one_in_one(tmp_path: Path) -> None:
    hf = tmp_path / "hf"
    run_command("convert_checkpoint", "to-transformers", GENUINE, hf)
    readers = safetensors_shards.tensors(hf)
    weights = {name: read().clone() for name, read in readers.items()}
    (hf / "model.safetensors").unlink()
    weight_map = {}
    for number, names in enumerate((sorted(weights)[::2], sorted(weights)[1::2]), 1):
        shard = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: weights[name] for name in names}, hf / shard)
        weight_map |= dict.fromkeys(names, shard)
    index = hf / "pytorch_model.bin.index.json"
    safetensors_shards.write_json(index, {"metadata": {}, "weight_map": weight_map})
    again = safetensors_shards.tensors(hf)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name](), weights[name]) for name in weights)
    ended = run_command("convert_checkpoint", "verify", GENUINE, hf)
    assert ended.returncode == 0, ended.stderr
    (hf / "pytorch_model-00002-of-00002.bin").unlink()
    ended = run_command("convert_checkpoint", "to-megatron", hf, tmp_path / "out")
    assert ended.returncode == 1 and "00002-of-00002.bin does not exist" in ended.stderr


@pytest.mark.parametrize("name", ["../x.bin", ["x.bin"], {"x": 1}, None, 7, "/etc/passwd"])
def test_an_index_that_names_no_file_of_its_folder_is_refused(name: object, tmp_path: Path) -> None:
    index = tmp_path / "pytorch_model.bin.index.json"
    safetensors_shards.write_json(index, {"weight_map": {"wte.weight": name}})
    with pytest.raises(CheckpointError, match="names no file"):
        safetensors_shards.tensors(tmp_path)
