"""What is opened as data is a file: pipes, devices and git-lfs pointers are refused by name.

A reader that opens a pipe waits for ever: a fault here shows as a test that does not end.
"""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from encore import data_file, strict_json
from encore.checkpoints import file_names, inert_pickle, safetensors_shards, torch_file, torch_zip
from encore.corpus import documents
from encore.curves import tfrecord
from encore.errors import DataError, EncoreError
from encore.scaling import runs
from encore.tokens import data_paths, manifest, part_manifest, tokenizer, verify
from encore.tokens.indexed import Index, IndexedDataset

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
PAIR = Path(__file__).parent / "data" / "megatron_tiny" / "data" / "tiny_text_document"


def read_documents(path: Path) -> None:
    list(documents.stream([str(path)], documents.ReadOptions()))


def verify_pair(prefix: Path) -> None:
    for finding in verify.verify(prefix):
        assert finding.right, finding.seen


# the file that a reader of FOLDER/x opens, and the reader
READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "index": ("x.idx", Index),
    "tokens": ("x.bin", IndexedDataset),
    "manifest": ("x.json", manifest.Manifest.read),
    "list of parts": ("x.parts.json", part_manifest.read_manifest),
    "data paths": ("x", data_paths.read),
    "tokenizer.json": ("x", lambda path: tokenizer.load(str(path))),
    "tokenizer.json of a folder": (
        "tokenizer.json",
        lambda path: tokenizer.load(str(path.parent)),
    ),
    "merges": ("merges.txt", lambda path: tokenizer.load(str(path.parent))),
    "corpus": ("x", read_documents),
    "torch": ("x", torch_file.load),
    "pickle": ("x", inert_pickle.read),
    "step": ("x", torch_zip.is_torn),
    "weights": ("model.safetensors", lambda path: safetensors_shards.tensors(path.parent)),
    "pickled weights": ("pytorch_model.bin", lambda path: safetensors_shards.tensors(path.parent)),
    "configuration": ("x", safetensors_shards.read_json),
    "latest": ("latest", lambda path: file_names.latest(path.parent)),
    "results of runs": ("x", runs.load),
    "JSON": ("x", lambda path: strict_json.read_object(path, DataError, "fetch it again")),
}


def refusal(folder: Path, name: str, reader: Callable[[Path], Any]) -> str:
    if name == "x.bin":
        shutil.copy(f"{PAIR}.idx", folder / "x.idx")
    if name == "merges.txt":
        (folder / "vocab.json").write_text("{}")
    with pytest.raises(EncoreError) as error:
        reader(folder / "x")
    assert str(folder / name) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("what", READERS)
def test_a_git_lfs_pointer_is_called_one(what: str, tmp_path: Path) -> None:
    name, reader = READERS[what]
    (tmp_path / name).write_bytes(POINTER)
    assert "is a git-lfs pointer" in refusal(tmp_path, name, reader)


# transformers' files are looked for, so that a pipe of that name is none
@pytest.mark.parametrize("what", sorted(set(READERS) - {"weights", "pickled weights"}))
def test_a_pipe_is_refused_and_not_waited_for(what: str, tmp_path: Path) -> None:
    name, reader = READERS[what]
    os.mkfifo(tmp_path / name)
    assert "is a pipe, not a file" in refusal(tmp_path, name, reader)


@pytest.mark.parametrize("name", ["x.bin", "x.idx", "x.json"])
def test_verify_calls_it_by_its_name_too(name: str, tmp_path: Path) -> None:
    for suffix in (".bin", ".idx"):
        shutil.copy(f"{PAIR}{suffix}", tmp_path / f"x{suffix}")
    (tmp_path / name).unlink(missing_ok=True)
    for make, kind in ((os.mkfifo, "pipe"), (lambda path: path.write_bytes(POINTER), "pointer")):
        make(tmp_path / name)
        with pytest.raises(AssertionError, match=f"is a (git-lfs )?{kind}, not"):
            verify_pair(tmp_path / "x")
        (tmp_path / name).unlink()


def test_devices_sockets_and_folders_are_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path, kind in (
            (Path("/dev/zero"), "a device"),
            (tmp_path / "socket", "a socket"),
            (tmp_path, "a folder"),
        ):
            with pytest.raises(EncoreError, match=f"{path} is {kind}, not a file"):
                data_file.check(path)


def test_a_file_that_begins_as_a_pointer_but_is_longer_is_none(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(POINTER + b"\n" * 1024)
    assert data_file.check(tmp_path / "x") == len(POINTER) + 1024


def test_event_files_say_it_as_damage(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(POINTER)
    (block,) = tfrecord.blocks(tmp_path / "x")
    assert block.damage and "git-lfs pointer" in block.damage.reason
