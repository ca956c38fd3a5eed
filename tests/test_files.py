"""Whole or absent: atomic writes, exclusive outputs, folders."""

import errno
import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from encore import files
from encore.errors import OutputError, UsageError
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


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "file"])
def test_whatever_lies_under_the_temporary_name_is_neither_written_nor_emptied(
    tmp_path: Path, kind: str
) -> None:
    outside = tmp_path / "outside"
    planted = tmp_path / ".x.json.tmp"
    if kind != "dangling link":
        outside.write_text("kept")
    if kind == "hard link":
        planted.hardlink_to(outside)
    elif kind == "file":
        planted.write_text("a killed run's")
    else:
        planted.symlink_to(outside)
    files.write_text(tmp_path / "x.json", "new")
    assert (tmp_path / "x.json").read_text() == "new"
    assert not (tmp_path / "x.json").is_symlink() and not planted.is_symlink()
    assert outside.exists() == (kind != "dangling link")
    assert not outside.exists() or outside.read_text() == "kept"


def test_a_planted_lock_is_neither_followed_nor_emptied(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (tmp_path / ".x.bin.lock").symlink_to(outside)
    with pytest.raises(OutputError, match=r"\.x\.bin\.lock is a link"):
        files.exclusive(tmp_path / "x.bin").__enter__()
    assert outside.read_text() == "kept"


def test_a_lock_that_another_run_holds_keeps_what_is_in_it(tmp_path: Path) -> None:
    target = tmp_path / "x.bin"
    with files.exclusive(target):
        entry = (tmp_path / ".x.bin.lock").read_text()
        with pytest.raises(OutputError, match="written by another run"):
            files.exclusive(target).__enter__()
        assert (tmp_path / ".x.bin.lock").read_text() == entry
    assert list(tmp_path.iterdir()) == []


def test_a_fifo_in_the_place_of_a_lock_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".x.bin.lock")
    with pytest.raises(OutputError, match="is a link or no file"):
        files.exclusive(tmp_path / "x.bin").__enter__()


def _no_locks(*_: object) -> None:
    raise OSError(errno.ENOSYS, "Function not implemented")


@pytest.mark.parametrize("flock", [_no_locks, lambda *_: None])
def test_without_locks_a_second_run_of_this_machine_is_refused_and_the_lack_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    flock: Callable[..., None],
) -> None:
    monkeypatch.setattr(fcntl, "flock", flock)
    with files.exclusive(tmp_path / "x.bin"):
        assert "this file system has no locks" in caplog.text
        with pytest.raises(OutputError, match="written by another run"):
            files.exclusive(tmp_path / "x.bin").__enter__()


def test_the_lock_of_another_host_is_said_and_blocks_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".x.bin.lock").write_text("nid001234 77\n")
    with files.exclusive(tmp_path / "x.bin"):
        assert "process 77 on nid001234 was killed, or still writes" in caplog.text


def test_of_two_writers_without_a_lock_the_first_fails_and_the_second_is_whole(
    tmp_path: Path,
) -> None:
    target = tmp_path / "x.json"
    with pytest.raises(OutputError, match="another run writes"), files.atomic(target) as first:
        first.write_text("first")
        with files.atomic(target) as second:
            second.write_text("second")
    assert target.read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


def test_of_two_writers_of_a_folder_the_first_fails_and_does_not_take_the_others(
    tmp_path: Path,
) -> None:
    target = tmp_path / "model"
    with pytest.raises(OutputError, match="another run writes"), files.atomic_folder(target):
        (files.begin_folder(target) / "half").write_text("second")
    assert not target.exists()


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "x"
    if kind == "folder":
        target.mkdir()
    else:
        os.mkfifo(target)
    with pytest.raises(OutputError, match="is not a file that can be replaced"):
        files.write_text(target, "text")
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_in_the_place_of_an_older_folder_is_not_taken_for_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    for state in files.LEFTOVER_STATES:
        (tmp_path / f".model.{state}").symlink_to(outside)
    files.clear_leftovers(tmp_path / "model")
    assert list(tmp_path.iterdir()) == [outside] and (outside / "kept").exists()


def test_a_link_that_bears_the_name_of_a_folder_is_replaced(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    (tmp_path / "model").symlink_to(outside)
    with files.atomic_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "outside"]
    assert (outside / "kept").exists()


def test_without_a_home_what_lies_in_it_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "x")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    with pytest.raises(UsageError, match="no absolute path"):
        files.user_folder("XDG_CACHE_HOME", ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert files.user_folder("XDG_CACHE_HOME", ".cache") == Path("/c")


def test_a_user_without_an_entry_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 3)
    with pytest.raises(UsageError, match="no home folder"):
        files.user_folder("XDG_NOWHERE", ".cache")
