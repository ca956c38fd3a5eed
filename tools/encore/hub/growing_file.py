"""A file that another program keeps appending to, read as it was at one moment."""

import io
import os
from pathlib import Path


class FilePrefix(io.BufferedIOBase):
    """The first `size` bytes of a file.

    While the file grows, what is hashed, counted and sent stays the same.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 — closed with this object
        self._size = size

    def read(self, count: int | None = -1, /) -> bytes:
        """Up to `count` bytes, all that remain of the prefix by default."""
        remaining = max(self._size - self._file.tell(), 0)
        if count is None or count < 0:
            return self._file.read(remaining)
        return self._file.read(min(count, remaining))

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """As for any file, with the prefix's end as the file's end."""
        bases = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size}
        return self._file.seek(bases[whence] + offset)

    def close(self) -> None:
        """Close the underlying file too."""
        self._file.close()
        super().close()
