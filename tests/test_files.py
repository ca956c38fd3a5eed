"""Whole or absent: atomic writes, exclusive outputs, folders."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from encore import files
from encore.errors import OutputError
from hypothesis import given
from hypothesis import strategies as st


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a file 'quoted'"
    target.write_text("old")
    with pytest.raises(OSError, match="disk"), files.atomic(target) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "disk is full")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_text() == "old"


def test_a_full_disk_leaves_nothing() -> None:
    with pytest.raises(OSError) as raised:
        Path("/dev/full").write_text("x" * 10_000)
    assert raised.value.errno == errno.ENOSPC


def test_missing_folders_are_made(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "c.txt", "text")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "text"


def _hold(target: Path, held: "multiprocessing.synchronize.Event") -> None:
    with files.exclusive(target):
        held.set()
        time.sleep(60)


def test_the_second_writer_is_refused_and_a_killed_one_blocks_nobody(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(target, held))
    holder.start()
    assert held.wait(30)
    with (
        pytest.raises(OutputError, match=r"out\.bin is being written by another run"),
        files.exclusive(target),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with files.exclusive(target):
        pass


@given(st.binary(max_size=3_000_000))
def test_checksums_are_those_of_sha256sum(content: bytes) -> None:
    import hashlib
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        assert files.sha256(Path(file.name)) == hashlib.sha256(content).hexdigest()


def test_a_folder_appears_whole_and_replaces_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for text in ("old", "new"):
        with files.atomic_folder(target) as folder:
            (folder / "weights").write_text(text)
            assert not target.exists() or (target / "weights").read_text() == "old"
        assert (target / "weights").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(target) as folder:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (target / "weights").read_text() == "old"


def test_after_a_kill_between_the_renames_the_old_folder_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in (".model.unfinished", ".model.replaced"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    files.begin_folder(target)
    assert (target / "weights").read_text() == ".model.replaced"
    assert list(files.unfinished_folder(target).iterdir()) == []


def test_a_removal_leaves_nothing_and_ends_what_a_killed_one_began(tmp_path: Path) -> None:
    for name in ("model", ".model.removed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("x")
    files.remove_folder(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (".global_step5.unfinished", ("global_step5", "unfinished")),
        (".a.b.removed", ("a.b", "removed")),
        ("global_step5", None),
        (".global_step5.tmp", None),
    ],
)
def test_leftovers_are_known_by_their_names(name: str, parts: tuple[str, str] | None) -> None:
    assert files.leftover(name) == parts


def test_a_planted_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / "kept").write_text("x")
    (tmp_path / ".model.unfinished").symlink_to(outside)
    with files.atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("new")
    assert (outside / "kept").read_text() == "x" and outside.stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "model").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "outside"]
