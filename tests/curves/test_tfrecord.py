"""Records come back whole in any block size; a cut or changed file is read exactly up to there."""

import struct
from pathlib import Path

import pytest
from encore.curves import tfrecord
from helpers.event_files import GENUINE, record
from hypothesis import given
from hypothesis import strategies as st

payloads = st.lists(st.binary(max_size=40), max_size=12)


def read(path: Path, block_bytes: int) -> tuple[list[bytes], tfrecord.Damage | None]:
    found, damage = [], None
    for block in tfrecord.blocks(path, block_bytes):
        assert damage is None, "nothing follows the damage"
        pairs = zip(block.starts.tolist(), block.ends.tolist(), strict=True)
        found += [block.data[start:end] for start, end in pairs]
        damage = block.damage
    return found, damage


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "events"


@given(written=payloads, block_bytes=st.integers(1, 200))
def test_records_come_back_in_any_block_size(
    path: Path, written: list[bytes], block_bytes: int
) -> None:
    path.write_bytes(b"".join(map(record, written)))
    assert read(path, block_bytes) == (written, None)


@given(written=payloads, block_bytes=st.integers(1, 200), data=st.data())
def test_a_file_that_was_cut_keeps_its_whole_records(
    path: Path, written: list[bytes], block_bytes: int, data: st.DataObject
) -> None:
    whole = b"".join(map(record, written))
    length = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:length])
    kept, at = [], 0
    while len(kept) < len(written) and at + len(record(written[len(kept)])) <= length:
        at += len(record(written[len(kept)]))
        kept.append(written[len(kept)])
    found, damage = read(path, block_bytes)
    assert found == kept
    assert (damage.offset if damage else None) == (at if at < length else None)
    assert damage is None or "cut off" in damage.reason


@given(written=payloads.filter(bool), block_bytes=st.integers(1, 200), data=st.data())
def test_one_changed_bit_is_found_and_ends_the_file_before_its_record(
    path: Path, written: list[bytes], block_bytes: int, data: st.DataObject
) -> None:
    frames = list(map(record, written))
    broken = bytearray(b"".join(frames))
    at = data.draw(st.integers(0, len(broken) - 1))
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(broken)
    before, offset = 0, 0
    while offset + len(frames[before]) <= at:
        offset += len(frames[before])
        before += 1
    found, damage = read(path, block_bytes)
    assert found == written[:before]
    assert damage and damage.offset == offset


def test_a_genuine_file_is_whole() -> None:
    (file,) = GENUINE.iterdir()
    found, damage = read(file, tfrecord.BLOCK_BYTES)
    assert (len(found), damage) == (773, None)


def test_a_git_lfs_pointer_is_called_so(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    found, damage = read(path, 100)
    assert (found, str(damage)) == ([], f"{path}: a git-lfs pointer stands for the file at byte 0")


def test_a_length_beyond_all_files_is_read_as_cut_off(path: Path) -> None:
    length = struct.pack("<Q", 1 << 62)
    path.write_bytes(
        record(b"one") + length + struct.pack("<I", tfrecord.masked_crc32c(length)) + b"rest"
    )
    found, damage = read(path, 64)
    assert found == [b"one"] and damage and damage.offset == len(record(b"one"))
