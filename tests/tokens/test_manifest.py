"""Manifests read back as written; whatever else bears the name is refused with a reason."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encore.errors import DataError
from encore.tokens import manifest as manifest_module
from encore.tokens.indexed import Index, IndexedWriter
from encore.tokens.manifest import Manifest
from helpers.manifests import BROKEN, tokenized
from hypothesis import given
from hypothesis import strategies as st

COUNTS = st.integers(0, 10**15)
# Paths that are not UTF-8 reach Python as lone low surrogates.
TEXT = st.text(
    st.characters(codec="utf-8")
    | st.characters(categories=["Cs"], min_codepoint=0xDC80, max_codepoint=0xDCFF)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
MANIFESTS = st.builds(
    Manifest,
    kit=TEXT,
    documents=COUNTS,
    tokens=COUNTS,
    dtype=TEXT,
    append_eod=st.booleans(),
    encoder=TEXT,
    tokenizer=OBJECTS,
    inputs=st.lists(OBJECTS, max_size=3),
    skipped=st.dictionaries(TEXT, COUNTS, max_size=3),
    sha256=st.dictionaries(TEXT, TEXT, max_size=3),
)


@given(MANIFESTS)
def test_a_manifest_reads_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest
) -> None:
    prefix = tmp_path_factory.mktemp("manifest") / "a b.c"
    manifest.write(prefix)
    assert Manifest.path(prefix).name == "a b.c.json"
    assert Manifest.read(prefix) == manifest
    Manifest.remove(prefix)
    assert Manifest.read(prefix) is None
    Manifest.remove(prefix)


@given(MANIFESTS, JSON, st.sampled_from([field.name for field in dataclasses.fields(Manifest)]))
def test_any_value_in_any_field_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, manifest: Manifest, value: Any, name: str
) -> None:
    prefix = tmp_path_factory.mktemp("manifest") / "x"
    Manifest.path(prefix).write_text(json.dumps(manifest.to_json() | {name: value}))
    try:
        read = Manifest.read(prefix)
    except DataError as error:
        assert f"{name!r} is not" in str(error)
    else:
        assert read == dataclasses.replace(manifest, **{name: value})


@pytest.mark.parametrize(("content", "reason"), BROKEN)
def test_what_is_no_manifest_is_refused_with_a_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    Manifest.path(tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError) as caught:
        Manifest.read(tmp_path / "x")
    assert str(caught.value).startswith(f"{tmp_path}/x.json is not a manifest")
    assert reason in str(caught.value)
    assert "prepare_corpus.py tokenize" in caught.value.hint


@pytest.mark.parametrize("missing", [field.name for field in dataclasses.fields(Manifest)])
def test_every_field_is_needed(tmp_path: Path, missing: str) -> None:
    tokenized(tmp_path / "x")
    path = Manifest.path(tmp_path / "x")
    raw = json.loads(path.read_text())
    del raw[missing]
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=f"it lacks '{missing}'"):
        Manifest.read(tmp_path / "x")


def test_a_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    Manifest.path(tmp_path / "x").mkdir()
    with pytest.raises(DataError, match=r"x\.json is a folder, not a file"):
        Manifest.read(tmp_path / "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_manifest_of_somebody_else_is_refused(tmp_path: Path) -> None:
    tokenized(tmp_path / "x")
    Manifest.path(tmp_path / "x").chmod(0)
    with pytest.raises(DataError, match=r"x\.json cannot be read: Permission denied"):
        Manifest.read(tmp_path / "x")


def test_each_difference_from_the_pair_is_named(tmp_path: Path) -> None:
    manifest = tokenized(tmp_path / "x")
    index = Index(tmp_path / "x")
    assert manifest.mismatch(index) is None
    assert manifest.mismatch(index, manifest.sha256) is None
    other = dataclasses.replace(manifest, documents=5, tokens=1, dtype="int32")
    assert other.mismatch(index, {"x.bin": "0" * 64}) == (
        f"{tmp_path}/x.json describes another pair: documents 5 (here 2), tokens 1 (here 30),"
        " dtype int32 (here uint16), another SHA-256 of x.bin"
    )


def test_tokens_are_counted_beyond_32_bits(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "x", "u1") as writer:
        writer.add([1])
    index = Index(tmp_path / "x")
    index.sizes = np.full(3, 2**31 - 1, np.int32)
    assert index.token_count == 3 * (2**31 - 1)


def test_reading_a_manifest_needs_no_numpy() -> None:
    code = "import sys; sys.modules['numpy'] = None; import encore.tokens.manifest"
    package = Path(manifest_module.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(package)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
