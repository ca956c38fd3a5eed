"""Splitting and joining: the same bytes come back, at any cut and after any kill."""

import itertools
import os
import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from encore.errors import DataError, EncoreError, OutputError, UsageError
from encore.tokens import hashed_copy, part_manifest, split_join
from encore.tokens.indexed import IndexedWriter
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny" / "data" / "tiny_text_document"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def restore(folder: Path, files: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process, unlike a killed machine, loses nothing it wrote; syncing is slow."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    for suffix in (".bin", ".idx"):
        shutil.copy(f"{GENUINE}{suffix}", tmp_path / f"x{suffix}")
    return tmp_path / "x"


@examples(40)
@given(
    st.lists(st.lists(st.integers(0, 127), max_size=9), max_size=20),
    st.sampled_from(["u1", "<u2", "<i4", "<i8"]),
    st.one_of(st.tuples(st.integers(1, 60), st.none()), st.tuples(st.none(), st.integers(1, 99))),
    st.booleans(),
    st.integers(1, 50),
)
def test_what_is_split_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[int]],
    dtype: str,
    amount: tuple[int | None, int | None],
    remove: bool,
    chunk: int,
) -> None:
    prefix = tmp_path_factory.mktemp("parts") / "a.b c"
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.add(document)
    before = snapshot(prefix.parent)
    width, tokens = np.dtype(dtype).itemsize, sum(map(len, documents))
    count, size = amount
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashed_copy, "_CHUNK_BYTES", chunk)
        patch.setattr(split_join, "_COMMIT_BYTES", chunk)
        if (count or 0) > max(tokens, 1) or (size or width) < width:
            with pytest.raises(UsageError):
                split_join.split(prefix, count, size)
            assert snapshot(prefix.parent) == before
            return
        made = split_join.split(prefix, count, size)
        Path(f"{prefix}.bin").unlink()
        done = split_join.join(prefix, remove)
    assert all(part.bytes % width == 0 for part in made)
    assert len(made) == count if count else max(part.bytes for part in made) <= (size or 0)
    if count:
        assert max(part.bytes for part in made) - min(part.bytes for part in made) in (0, width)
    assert (done.parts, done.bytes, done.checked) == (len(made), tokens * width, "hashes")
    after = snapshot(prefix.parent)
    assert after.pop("a.b c.parts.json")
    assert before == {name: data for name, data in after.items() if name in before}
    assert set(after) - set(before) == (set() if remove else {part.name for part in made})


@examples(30)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=40), st.booleans())
def test_any_cuts_by_others_are_joined(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[int], remove: bool
) -> None:
    prefix = tmp_path_factory.mktemp("parts") / "x"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for name, (start, end) in zip(
        part_manifest.names(prefix, len(edges) - 1), itertools.pairwise(edges), strict=True
    ):
        prefix.with_name(name).write_bytes(data[start:end])
    assert split_join.join(prefix, remove).checked == "nothing"
    assert prefix.with_name("x.bin").read_bytes() == data


def test_the_originals_parts_are_joined_and_checked_by_the_index(pair: Path) -> None:
    whole = snapshot(pair.parent)
    subprocess.run(["split", "--number=l/40", "x.bin", "x.bin."], cwd=pair.parent, check=True)
    (pair.parent / "x.bin").unlink()
    done = split_join.join(pair, remove_parts=True)
    assert (done.parts, done.checked) == (40, "index")
    assert snapshot(pair.parent) == whole


def test_parts_missing_at_the_end_are_noticed_before_anything_is_written(pair: Path) -> None:
    subprocess.run(["split", "--number=l/40", "x.bin", "x.bin."], cwd=pair.parent, check=True)
    for name in ("x.bin", "x.bin.bn"):
        (pair.parent / name).unlink()
    before = snapshot(pair.parent)
    with pytest.raises(
        DataError, match=r"39 parts of .*x\.bin have [\d,]+ bytes, its \.idx says 795,082"
    ):
        split_join.join(pair, remove_parts=True)
    assert snapshot(pair.parent) == before


@pytest.mark.parametrize("change", ["flip", "cut", "gone"])
def test_a_damaged_part_is_named_and_mended_by_fetching_it_again(pair: Path, change: str) -> None:
    whole = snapshot(pair.parent)
    made = split_join.split(pair, 10)
    (pair.parent / "x.bin").unlink()
    damaged = pair.with_name(made[7].name)
    data = damaged.read_bytes()
    damaged.write_bytes(
        data[:-1] if change == "cut" else data[:50] + bytes([data[50] ^ 1]) + data[51:]
    )
    if change == "gone":
        damaged.unlink()
    with pytest.raises(
        DataError, match=rf"{damaged.name}.* (is damaged|has [\d,]+ bytes|does not exist)"
    ):
        split_join.join(pair, remove_parts=True)
    assert not (pair.parent / "x.bin").exists()
    damaged.write_bytes(data)
    assert split_join.join(pair, remove_parts=True).checked == "hashes"
    assert (pair.parent / "x.bin").read_bytes() == whole["x.bin"]
    assert not list(pair.parent.glob("*.bin.*"))


def test_a_join_goes_on_where_it_ended(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = split_join.split(pair, 10)
    (pair.parent / "x.bin").unlink()
    monkeypatch.setattr(split_join, "_COMMIT_BYTES", 1)
    copied: list[str] = []
    copy = hashed_copy.copy

    def failing(source: Path, *rest: object) -> str:
        copied.append(source.name)
        if source.name == "x.bin.ag":
            raise OSError("the machine stops here")
        return copy(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hashed_copy, "copy", failing)
    with pytest.raises(OSError, match="stops here"):
        split_join.join(pair)
    monkeypatch.setattr(
        hashed_copy, "copy", lambda source, *rest: copied.append(source.name) or copy(source, *rest)
    )
    copied.clear()
    split_join.join(pair)
    assert sorted(copied) == [part.name for part in made[6:]]


def test_a_part_may_be_replaced_between_two_runs_and_an_unfinished_whole_may_vanish(
    pair: Path,
) -> None:
    whole = (pair.parent / "x.bin").read_bytes()
    made = split_join.split(pair, 4)
    (pair.parent / "x.bin").unlink()
    part_manifest.write_journal(pair.parent / ".x.bin.joining.json", made, 3)
    (pair.parent / ".x.bin.joining").write_bytes(b"less than the journal says")
    split_join.join(pair)
    assert (pair.parent / "x.bin").read_bytes() == whole


@pytest.mark.parametrize("remove", [False, True])
def test_a_failed_join_leaves_nothing_that_the_parts_do_not_hold(
    pair: Path, remove: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds the bytes of removed parts stays, and the next join goes on from it."""
    monkeypatch.setattr(split_join, "COPIERS", 1)
    whole = (pair.parent / "x.bin").read_bytes()
    made = split_join.split(pair, 3)
    (pair.parent / "x.bin").unlink()
    damaged = pair.with_name(made[1].name)
    good = damaged.read_bytes()
    damaged.write_bytes(bytes(len(good)))
    before = snapshot(pair.parent)
    with pytest.raises(DataError, match="is damaged"):
        split_join.join(pair, remove_parts=remove)
    leftover = sorted(set(snapshot(pair.parent)) - set(before))
    if remove:
        assert leftover == [".x.bin.joining", ".x.bin.joining.json"]
        assert not pair.with_name(made[0].name).exists()
    else:
        assert snapshot(pair.parent) == before
    damaged.write_bytes(good)
    split_join.join(pair, remove_parts=remove)
    assert (pair.parent / "x.bin").read_bytes() == whole


def test_two_joins_at_once_do_not_meet(pair: Path) -> None:
    from encore import files

    split_join.split(pair, 4)
    (pair.parent / "x.bin").unlink()
    with files.exclusive(pair.parent / "x.bin"), pytest.raises(OutputError, match="another run"):
        split_join.join(pair)


def test_a_finished_join_or_split_is_left_as_it_is(pair: Path) -> None:
    made = split_join.split(pair, 10)
    before = snapshot(pair.parent)
    assert split_join.split(pair, 10) == made
    assert split_join.join(pair).parts == 0
    assert snapshot(pair.parent) == before


def test_parts_of_an_older_bin_are_not_taken_for_its_own(pair: Path) -> None:
    split_join.split(pair, 10)
    data = (pair.parent / "x.bin").read_bytes()
    (pair.parent / "x.bin").write_bytes(data[::-1])
    later = (pair.parent / "x.parts.json").stat().st_mtime + 1
    os.utime(pair.parent / "x.bin", (later, later))
    with pytest.raises(OutputError, match="has parts already"):
        split_join.split(pair, 10)


def test_removing_parts_beside_a_finished_whole_is_refused(pair: Path) -> None:
    split_join.split(pair, 10)
    with pytest.raises(OutputError, match="exists, and so do its parts"):
        split_join.join(pair, remove_parts=True)


def test_a_whole_of_another_size_is_not_overwritten(pair: Path) -> None:
    split_join.split(pair, 10)
    os.truncate(pair.parent / "x.bin", 1000)
    for idx in (True, False):
        if not idx:
            (pair.parent / "x.idx").unlink()
        with pytest.raises(
            OutputError, match=r"x\.bin exists, with 1,000 bytes instead of 795,082"
        ):
            split_join.join(pair)


def test_other_parts_are_not_overwritten(pair: Path) -> None:
    split_join.split(pair, 10)
    before = snapshot(pair.parent)
    for count in (9, 11):
        with pytest.raises(OutputError, match=r"has parts already, x\.bin\.aa among them"):
            split_join.split(pair, count)
    (pair.parent / "x.parts.json").unlink()
    with pytest.raises(OutputError, match="has parts already"):
        split_join.split(pair, 10)
    assert snapshot(pair.parent) == {
        name: data for name, data in before.items() if name != "x.parts.json"
    }


def test_a_failed_split_leaves_nothing(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(pair.parent)
    copy = hashed_copy.copy

    def failing(source: Path, start: int, *rest: object) -> str:
        if start > 400_000:
            raise OSError("the disk is full")
        return copy(source, start, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hashed_copy, "copy", failing)
    with pytest.raises(OSError, match="disk is full"):
        split_join.split(pair, 10)
    assert snapshot(pair.parent) == before


def test_a_killed_split_into_other_parts_is_cleared_away(pair: Path) -> None:
    for name in ("x.bin.aa", "x.bin.zz", ".x.bin.ab.tmp"):
        (pair.parent / name).write_bytes(b"left by a killed run")
    left = [part_manifest.BinPart(name, 20) for name in ("x.bin.aa", "x.bin.ab", "x.bin.zz")]
    part_manifest.write_journal(pair.parent / ".x.bin.splitting.json", left, 0)
    split_join.split(pair, 2)
    assert set(snapshot(pair.parent)) == {"x.bin", "x.idx", "x.bin.aa", "x.bin.ab", "x.parts.json"}


def test_too_little_disk_is_said_before_anything_is_written(
    pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_join.split(pair, 10)
    (pair.parent / "x.bin").unlink()
    before = snapshot(pair.parent)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 300_000))
    with pytest.raises(
        OutputError, match="needs 795,082 bytes of disk, 300,000 are free"
    ) as caught:
        split_join.join(pair)
    assert "238,526 are enough" in caught.value.hint
    assert snapshot(pair.parent) == before
    split_join.join(pair, remove_parts=True)


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for work in (split_join.join, lambda prefix: split_join.split(prefix, 2)):
        with pytest.raises(EncoreError):
            work(tmp_path / "typo" / "x")
    assert not list(tmp_path.iterdir())


def test_planted_links_are_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    for suffix in (".bin", ".idx"):
        shutil.copy(f"{GENUINE}{suffix}", tmp_path / f"x{suffix}")
    content = (tmp_path / "x.bin").read_bytes()
    for name in (".x.bin.aa.tmp", ".x.bin.joining"):
        (tmp_path / name).symlink_to(outside)
    split_join.split(tmp_path / "x", count=2)
    (tmp_path / "x.bin").unlink()
    split_join.join(tmp_path / "x")
    assert (tmp_path / "x.bin").read_bytes() == content and not (tmp_path / "x.bin").is_symlink()
    assert outside.read_text() == "kept"
