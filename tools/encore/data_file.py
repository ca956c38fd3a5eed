"""Files that are opened as data: regular files, and none that a git-lfs pointer stands for.

Opening a named pipe waits until somebody writes to it, and a device may never end. A clone without
git-lfs has small text files, the pointers, in place of the large ones.
"""

import stat
from pathlib import Path

from encore.errors import DataError, EncoreError

# source: github.com/git-lfs/git-lfs docs/spec.md: this line is the first one, the whole is smaller
# than 1024 bytes
_POINTER = b"version https://git-lfs"
_POINTER_BYTES = 1024
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check(path: Path, error: type[EncoreError] = DataError) -> int:
    """The size of a file that may be opened as data; raises `error` for anything else.

    Raises OSError where there is no such file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        hint = "give a file"
        if kind == "a pipe":
            hint = "write what comes out of it to a file, which can be read twice"
        raise error(f"{path} is {kind}, not a file", hint)
    if status.st_size < _POINTER_BYTES:
        with open(path, "rb") as handle:
            if is_lfs_pointer(handle.read(len(_POINTER))):
                raise error(
                    f"{path} is a git-lfs pointer, not the file that it stands for",
                    "fetch the file: git lfs pull, or tools/hub.py pull",
                )
    return status.st_size


def is_lfs_pointer(beginning: bytes) -> bool:
    """Whether a file that begins so is a git-lfs pointer."""
    return beginning.startswith(_POINTER)


def read_text(path: Path, error: type[EncoreError] = DataError) -> str:
    """The text of a UTF-8 file; raises what `check` raises, and UnicodeDecodeError."""
    check(path, error)
    return path.read_text(encoding="utf-8")
