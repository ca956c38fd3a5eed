"""Whole or absent: atomic writes, exclusive outputs, a run's paths."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from encore import files
from encore.errors import OutputError
from encore.plan import run_paths
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


def test_a_users_folder_replaces_that_kind_only() -> None:
    paths = run_paths.RunPaths("/w", "run", (("images", "/p/images"), ("checkpoints", "/flash/c")))
    assert (paths.images, paths.checkpoints, paths.data) == ("/p/images", "/flash/c/run", "/w/data")
