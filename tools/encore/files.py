"""Files that are whole or absent: atomic writes, exclusive outputs, checksums; and where a run's files lie.

Outputs go to a temporary name in the same folder, are fsynced, then renamed; a killed command leaves at most a
temporary file, which the next run of the same command replaces.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from encore.errors import OutputError

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; on success fsync it and rename it into place, else remove it."""
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
        if (
            isinstance(error, OSError)
            and error.errno in (errno.ENOSPC, errno.EDQUOT)
            and error.filename is None
        ):
            error.filename = str(target)  # a failed write() does not know what it wrote to
        raise


def write_text(target: Path, text: str) -> None:
    """Write a whole text file, atomically."""
    with atomic(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
                continue  # another run ended, and took its lock file away, between our open and flock
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
