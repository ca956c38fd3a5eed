"""Verifying: each kind of damage is found and said where; what is whole is called so."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from encore.findings import Finding
from encore.tokens import split_join, verify
from encore.tokens.indexed import IndexedDataset, IndexedWriter
from helpers.manifests import BROKEN, manifest_of
from hypothesis import given
from hypothesis import strategies as st

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tool" / "gpt2_text_document"


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A genuine pair with the manifest that prepare_corpus.py would have written."""
    for suffix in (".bin", ".idx"):
        shutil.copy(f"{GENUINE}{suffix}", tmp_path / f"x{suffix}")
    manifest_of(tmp_path / "x", 91, 29_873)
    return tmp_path / "x"


def wrong(findings: list[Finding]) -> dict[str, str]:
    """What is wrong, by its name; all of it comes with advice."""
    mistakes = {finding.what: finding for finding in findings if not finding.right}
    assert all(finding.advice for finding in mistakes.values())
    return {what: finding.seen for what, finding in mistakes.items()}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_whole_pair_is_right_in_all(pair: Path) -> None:
    split_join.split(pair, 7)
    findings = verify.verify(pair, 50257)
    assert [finding.what for finding in findings] == ["index", "bytes", "parts", "manifest", "ids"]
    assert wrong(findings) == {}
    assert findings[-1].seen == "the largest is 50,256; all must be below 50,257"


def test_only_what_is_there_is_spoken_of(pair: Path) -> None:
    (pair.parent / "x.json").unlink()
    assert [finding.what for finding in verify.verify(pair)] == ["index", "bytes"]


@given(st.integers(0, 59_745), st.booleans())
def test_any_flipped_bit_is_found_in_the_part_it_is_in(
    tmp_path_factory: pytest.TempPathFactory, at: int, whole: bool
) -> None:
    prefix = tmp_path_factory.mktemp("checks") / "x"
    for suffix in (".bin", ".idx"):
        shutil.copy(f"{GENUINE}{suffix}", f"{prefix}{suffix}")
    made = split_join.split(prefix, 7)
    ends = np.cumsum([part.bytes for part in made])
    number = int(np.searchsorted(ends, at, "right"))
    if whole:
        flip(prefix.with_name("x.bin"), at)
    else:
        prefix.with_name("x.bin").unlink()
        flip(prefix.with_name(made[number].name), at - int(ends[number]) + made[number].bytes)
    found = wrong(verify.verify(prefix))
    assert (
        list(found) == ["parts"]
        and f"{made[number].name} differs from the manifest" in found["parts"]
    )


def test_a_damaged_bin_differs_from_its_manifest(pair: Path) -> None:
    flip(pair.parent / "x.bin", 40_000)
    assert list(wrong(verify.verify(pair))) == ["manifest"]
    assert "another SHA-256 of x.bin" in wrong(verify.verify(pair))["manifest"]


@pytest.mark.parametrize(
    ("key", "value"), [("documents", 92), ("tokens", 0), ("dtype", "int32"), ("sha256", {})]
)
def test_a_manifest_of_another_pair_is_noticed(pair: Path, key: str, value: object) -> None:
    manifest = json.loads((pair.parent / "x.json").read_text())
    (pair.parent / "x.json").write_text(json.dumps(manifest | {key: value}))
    found = wrong(verify.verify(pair))["manifest"]
    assert (key if key != "sha256" else "SHA-256") in found


@pytest.mark.parametrize(("content", "reason"), BROKEN)
def test_a_manifest_that_is_none_is_wrong(pair: Path, content: bytes, reason: str) -> None:
    (pair.parent / "x.json").write_bytes(content)
    found = wrong(verify.verify(pair))["manifest"]
    assert "x.json is not a manifest of prepare_corpus.py" in found
    assert reason in found


@pytest.mark.parametrize("size", [0, 59_744, 59_745, 59_747])
def test_a_bin_of_another_size_is_wrong(pair: Path, size: int) -> None:
    data = (pair.parent / "x.bin").read_bytes()
    (pair.parent / "x.bin").write_bytes((data + b"\0\0")[:size])
    assert (
        wrong(verify.verify(pair, 60_000))["bytes"]
        == f"{size:,} bytes of tokens, the .idx says 59,746"
    )


def test_missing_and_cut_parts_are_named(pair: Path) -> None:
    made = split_join.split(pair, 7)
    (pair.parent / "x.bin").unlink()
    pair.with_name(made[3].name).unlink()
    cut = pair.with_name(made[5].name)
    cut.write_bytes(cut.read_bytes()[:-3])
    found = [finding.seen for finding in verify.verify(pair) if not finding.right]
    text = "; ".join(found)
    assert f"{made[3].name} does not exist" in text and f"{made[5].name} has 8," in text
    assert "; ".join(f"{made[n].name} differs from the manifest" for n in (3, 5)) in text


def test_ids_outside_the_vocabulary_are_placed(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "x", "<u2") as writer:
        for document in ([1, 2], [], [3, 9, 4], [8]):
            writer.add(document)
    assert wrong(verify.verify(tmp_path / "x", 10)) == {}
    found = wrong(verify.verify(tmp_path / "x", 8))["ids"]
    assert found == "2 ids are not below 8; the first is 9, token 3 of all, in document 2"


def test_negative_ids_are_wrong_in_any_vocabulary(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "x", "<i4") as writer:
        writer.add([1, -2, 3])
    assert wrong(verify.verify(tmp_path / "x"))["ids"].startswith(
        "1 ids are not 0 or more; the first is -2"
    )


def test_parts_that_cut_a_token_are_read_across_the_cut(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "_CHUNK_BYTES", 777)
    largest = int(IndexedDataset(pair).tokens.max())
    subprocess.run(["split", "--bytes=1001", "x.bin", "x.bin."], cwd=pair.parent, check=True)
    (pair.parent / "x.bin").unlink()
    findings = verify.verify(pair, largest + 1)
    assert wrong(findings) == {} and {finding.what for finding in findings} == {
        "index",
        "bytes",
        "manifest",
        "ids",
    }
    assert list(wrong(verify.verify(pair, largest))) == ["ids"]


def test_nothing_to_verify_is_wrong(tmp_path: Path, pair: Path) -> None:
    assert list(wrong(verify.verify(tmp_path / "absent"))) == ["files"]
    (pair.parent / "x.bin").unlink()
    assert r"x.bin.aa does not exist" in wrong(verify.verify(pair))["files"]
