"""A file that another program goes on appending to, read as it was at one moment."""

import io
import os
from pathlib import Path


class FilePrefix(io.BufferedIOBase):
    """The first `size` bytes of a file, so that what is hashed, counted and sent is the same while the file grows."""

    def __init__(self, path: Path, size: int) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 — closed with this object
        self._size = size

    def read(self, count: int | None = -1, /) -> bytes:
        """Up to `count` of the bytes that are left of the beginning."""
        left = max(self._size - self._file.tell(), 0)
        return self._file.read(left if count is None or count < 0 else min(count, left))

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """As files have it, with the beginning's end for theirs."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size}[whence]
        return self._file.seek(base + offset)

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()
