"""Files and folders that are whole or absent: atomic writes, exclusive outputs, checksums.

Outputs go to a temporary name in the same folder, are fsynced, then renamed. What a killed command
leaves has a temporary name, and the next run of the same command replaces it.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from encore.errors import OutputError

_CHUNK_BYTES = 1 << 20
# Called with each number of bytes as it is done, from any thread.
Progress = Callable[[int], None]
LEFTOVER_STATES = ("unfinished", "replaced", "removed")
_LEFTOVER = re.compile(rf"\.(.+)\.({'|'.join(LEFTOVER_STATES)})")


def no_progress(count: int) -> None:
    """The Progress that shows nothing."""


@contextlib.contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success it becomes `target`, else it goes."""
    target = Path(target)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        fsync(temporary)
        os.replace(temporary, target)
        fsync(target.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        _name_the_file(error, target)
        raise


def _name_the_file(error: BaseException, target: Path) -> None:
    # a failed write() does not know what it wrote to, but the user has to
    if not isinstance(error, OSError) or error.filename is not None:
        return
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        error.filename = str(target)


def write_text(target: Path, text: str) -> None:
    """Write a whole text file, atomically."""
    with atomic(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on success it becomes `target`, else it is removed."""
    folder = begin_folder(target)
    try:
        yield folder
        finish_folder(target)
    except BaseException:
        discard_folder(folder)
        raise


def begin_folder(target: Path) -> Path:
    """Make the folder that is to become `target`, after clearing away what killed runs left of it.

    Its name is one that no reader takes for `target`; `finish_folder` gives it that name.
    """
    clear_leftovers(target)
    folder = unfinished_folder(target)
    folder.mkdir(parents=True)
    return folder


def clear_leftovers(target: Path) -> None:
    """Remove what killed runs left of `target`; its older version is put back if it is missing."""
    replaced = _beside(target, "replaced")
    if replaced.exists() and not target.exists():
        replaced.rename(target)  # a kill came between the two renames of finish_folder
    for state in LEFTOVER_STATES:
        discard_folder(_beside(target, state))


def unfinished_folder(target: Path) -> Path:
    """The folder that `begin_folder` makes for `target`."""
    return _beside(target, "unfinished")


def finish_folder(target: Path) -> None:
    """Give the finished folder its name; one that bears it already is replaced and removed.

    After a kill between the renames the next `begin_folder` puts the old one back.
    """
    folder = unfinished_folder(target)
    replaced = _beside(target, "replaced")
    for path in folder.iterdir():
        fsync(path)
    fsync(folder)
    if target.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        target.rename(replaced)
    folder.rename(target)
    fsync(target.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_folder(target: Path) -> None:
    """Remove a folder so that a kill never leaves half of it under its own name. Raises OSError."""
    removed = _beside(target, "removed")
    if removed.exists():
        shutil.rmtree(removed)
    target.rename(removed)
    fsync(target.parent)
    shutil.rmtree(removed)


def discard_folder(folder: Path) -> None:
    """Remove a folder as far as that is possible, read-only folders in it included; never raises.

    A container's root file system holds folders that deny writing to their owner.
    """
    if folder.is_symlink():
        # what it leads to is not ours: chmod and rmtree would follow it
        folder.unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            # a link may lead out of the folder, and chmod follows it
            if not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def leftover(name: str) -> tuple[str, str] | None:
    """(target, state) where `name` is what a killed write or removal left: `.TARGET.STATE`."""
    match = _LEFTOVER.fullmatch(name)
    if match is None:
        return None
    return match[1], match[2]


def _beside(target: Path, state: str) -> Path:
    return target.with_name(f".{target.name}.{state}")


def fsync(path: Path) -> None:
    """Force a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def exclusive(target: Path) -> Iterator[None]:
    """Hold the only right to write `target`; raises OutputError when another run holds it.

    The lock is the kernel's: it goes with the process, so that a killed run never blocks the next.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    while True:
        with open(lock, "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OutputError(
                    f"{target} is being written by another run",
                    "wait for it or choose another output",
                ) from None
            if not _is_open(lock, handle.fileno()):
                # another run ended, and took its lock file away, between our open and flock
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _is_open(path: Path, descriptor: int) -> bool:
    """Whether the path still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as lowercase hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while chunk := handle.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def starts_with(path: Path, magic: bytes) -> bool:
    """Whether a file begins with these bytes."""
    with open(path, "rb") as handle:
        return handle.read(len(magic)) == magic
