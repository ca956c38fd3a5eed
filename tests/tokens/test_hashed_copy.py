"""Copies: the bytes and their hash, at any chunk and offset; an early end is an error."""

import os
from pathlib import Path

import pytest
from encore.errors import DataError
from encore.tokens import hashed_copy
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_hexdigest


@given(
    st.binary(max_size=300),
    st.integers(0, 300),
    st.integers(0, 300),
    st.integers(1, 70),
    st.integers(1, 70),
)
def test_any_range_is_copied_to_any_place(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    start: int,
    at: int,
    chunk: int,
    written: int,
) -> None:
    folder = tmp_path_factory.mktemp("copying")
    (folder / "source").write_bytes(data)
    (folder / "target").write_bytes(b"\xff" * at)
    pwrite = os.pwrite
    seen: list[int] = []
    start = min(start, len(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashed_copy, "_CHUNK_BYTES", chunk)
        patch.setattr(hashed_copy, "_SPAN_BYTES", 2 * chunk)
        patch.setattr(
            os, "pwrite", lambda file, some, place: pwrite(file, some[:written], place)
        )  # as a kernel may
        digest = hashed_copy.copy(
            folder / "source", start, len(data) - start, folder / "target", at, seen.append
        )
    assert (folder / "target").read_bytes() == b"\xff" * at + data[start:]
    assert digest == xxh3_128_hexdigest(data[start:])
    assert sum(seen) == len(data) - start


def test_a_source_that_ends_early_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1234")
    (tmp_path / "target").touch()
    with pytest.raises(DataError, match="source became shorter while it was read"):
        hashed_copy.copy(tmp_path / "source", 2, 3, tmp_path / "target", 0)


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1234")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        hashed_copy.copy(tmp_path / "source", 0, 4, Path("/dev/full"), 0)
