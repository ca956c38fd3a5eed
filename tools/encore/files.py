"""Files and folders that are whole or absent: atomic writes, exclusive outputs, checksums.

Outputs go to a temporary name in the same folder, are fsynced, then renamed. What a killed command
leaves has a temporary name, and the next run of the same command replaces it.

Anybody who may write to the folder can put a link under such a name beforehand: none is followed.
Two runs that write one output are kept apart by the kernel's lock. Where the file system has none
that works (Lustre mounted without flock), that is said, and a run whose temporary file was replaced
by another's fails.
"""

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from encore.errors import OutputError, UsageError

_CHUNK_BYTES = 1 << 20
# Called with each number of bytes as it is done, from any thread.
Progress = Callable[[int], None]
LEFTOVER_STATES = ("unfinished", "replaced", "removed")
_LEFTOVER = re.compile(rf"\.(.+)\.({'|'.join(LEFTOVER_STATES)})")
# what flock answers where a file system has no locks
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# errors of writing that say nothing of the file
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# a lock file holds a host and a process; what is longer was not written here
_OWNER_BYTES = 300

log = logging.getLogger(__name__)


def no_progress(count: int) -> None:
    """The Progress that shows nothing."""


@contextlib.contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Yield a new, empty file beside `target`; on success it becomes `target`, else it goes.

    Raises OutputError where `target` is no file, or another run writes it at the same time.
    """
    target = Path(target)
    if target.exists() and not target.is_file():
        raise OutputError(f"{target} is not a file that can be replaced", "choose another output")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    descriptor = _create(temporary)
    try:
        yield temporary
        if not _is_open(temporary, descriptor):
            raise _written_twice(target)
        os.fsync(descriptor)
        os.replace(temporary, target)
        fsync(target.parent)
    except BaseException as error:
        if _is_open(temporary, descriptor):
            temporary.unlink()
        _name_the_file(error, target)
        raise
    finally:
        os.close(descriptor)


def make_new(path: Path) -> None:
    """Make an empty file in place of whatever has this name; a link goes, not what it leads to."""
    os.close(_create(path))


def _create(path: Path) -> int:
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def own_file(path: str | Path, flags: int) -> int:
    """An `opener` for open() of a file that only the kit writes. Raises OutputError for a link, or
    what is no file.
    """
    try:
        # a FIFO would make this wait for its reader
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_own(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_own(path)
    return descriptor


def _not_own(path: str | Path) -> OutputError:
    return OutputError(
        f"{path} is a link or no file, and was not made by this kit", f"remove it: rm {path}"
    )


def _written_twice(target: Path) -> OutputError:
    return OutputError(
        f"another run writes {target} too, and has replaced this run's temporary files",
        "let one of them end, then run the same command again",
    )


def _name_the_file(error: BaseException, target: Path) -> None:
    # a failed write() does not know what it wrote to, but the user has to
    if not isinstance(error, OSError) or error.filename is not None:
        return
    if error.errno in _WRITE_ERRORS:
        error.filename = str(target)


def write_text(target: Path, text: str) -> None:
    """Write a whole text file, atomically."""
    with atomic(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on success it becomes `target`, else it is removed."""
    folder = begin_folder(target)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
        if not _is_open(folder, descriptor):
            raise _written_twice(target)
        finish_folder(target)
    except BaseException:
        if _is_open(folder, descriptor):
            discard_folder(folder)
        raise
    finally:
        os.close(descriptor)


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
    if replaced.is_dir() and not replaced.is_symlink() and not target.exists():
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
    if os.path.lexists(target):
        discard_folder(replaced)
        target.rename(replaced)
    folder.rename(target)
    fsync(target.parent)
    discard_folder(replaced)


def remove_folder(target: Path) -> None:
    """Remove a folder so that a kill never leaves half of it under its own name. Raises OSError."""
    removed = _beside(target, "removed")
    if removed.is_symlink():
        removed.unlink()
    if removed.exists():
        shutil.rmtree(removed)
    target.rename(removed)
    fsync(target.parent)
    shutil.rmtree(removed)


def discard_folder(folder: Path) -> None:
    """Remove a folder as far as that is possible, read-only folders in it included; never raises.

    A container's root file system holds folders that deny writing to their owner.
    """
    if folder.is_symlink() or not folder.is_dir():
        # what a link leads to is not ours: chmod and rmtree would follow it
        with contextlib.suppress(OSError):
            folder.unlink()
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
        with open(lock, "a+b", opener=own_file) as handle:
            has_lock = _lock(handle.fileno(), target)
            if not _is_open(lock, handle.fileno()):
                # another run ended, and took its lock file away, between our open and flock
                continue
            _enter_owner(handle.fileno(), target, has_lock and _keeps_others_out(lock))
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _lock(descriptor: int, target: Path) -> bool:
    """Whether the file system could lock this; raises OutputError where another run holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(target) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _keeps_others_out(lock: Path) -> bool:
    """Whether a file that is locked is so for a second open of it; flock may do nothing."""
    try:
        with open(lock, "a+b", opener=own_file) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        # somebody else took it away, as only its holder may
        return False
    return False


def _in_use(target: Path) -> OutputError:
    return OutputError(
        f"{target} is being written by another run", "wait for it or choose another output"
    )


def _enter_owner(descriptor: int, target: Path, is_locked: bool) -> None:
    """Write host and process into the lock file, and judge those that an earlier run left there.

    They stay behind only where that run was killed, or where locks do not reach from one node to
    another. Raises OutputError for a process that still runs here, where there are no locks.
    """
    entry = os.pread(descriptor, _OWNER_BYTES, 0).decode(errors="replace")
    host, _, process = entry.strip().partition(" ")
    here = socket.gethostname()
    if not is_locked:
        if host == here and _is_running(process):
            raise _in_use(target)
        log.warning(
            "%s: this file system has no locks, so that a second run is noticed late or not at"
            " all; start only one",
            target,
        )
    elif host not in ("", here):
        log.warning(
            "%s: the run of process %s on %s was killed, or still writes; if it runs, stop one",
            target,
            process,
            host,
        )
    os.ftruncate(descriptor, 0)
    # on a full disk the lock alone must do: the command may be one that frees space
    with contextlib.suppress(OSError):
        os.write(descriptor, f"{here} {os.getpid()}\n".encode())


def _is_running(process: str) -> bool:
    if not process.isascii() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def _is_open(path: Path, descriptor: int) -> bool:
    """Whether the path itself, not where it leads, still names the open file."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def user_folder(variable: str, name: str) -> Path:
    """The folder that an XDG variable names, else NAME in the user's home. Raises UsageError.

    source: XDG Base Directory Specification 0.8: a relative path in a variable is ignored
    """
    folder = Path(os.environ.get(variable, ""))
    if folder.is_absolute():
        return folder
    try:
        folder = Path.home() / name
    except RuntimeError:
        raise UsageError("this user has no home folder", f"set {variable} or HOME") from None
    if not folder.is_absolute():
        raise UsageError(f"{folder.parent}, the home folder, is no absolute path", "set HOME")
    return folder


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
