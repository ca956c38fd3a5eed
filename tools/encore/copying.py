"""Copies of file ranges, hashed on the way, and work on their results that goes on behind the next copy.

BLAKE3, because a copy that is checked should be about as fast as one that is not: SHA-256 with the processor's own
instructions makes 1 GB/s a core, less than a copy from the page cache; BLAKE3 makes more than 3.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, BinaryIO

from blake3 import blake3

from encore.errors import DataError

_CHUNK_BYTES = 4 << 20

Progress = Callable[[int], object]


def silent(count: int) -> None:
    """The Progress of who does not show any."""


class Copier:
    """Copies ranges of files; each byte is read once, and hashed in a thread while it is written."""

    def __init__(self, progress: Progress = silent) -> None:
        self._progress = progress
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._hasher = ThreadPoolExecutor(1)

    def __enter__(self) -> "Copier":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hasher.shutdown()

    def copy(self, source: BinaryIO, start: int, count: int, target: BinaryIO, at: int) -> str:
        """Copy `count` bytes from `start` of one file to `at` of another; returns their BLAKE3 as hex.

        Raises DataError when the source ends before.
        """
        digest = blake3()
        done = 0
        while done < count:
            got = os.preadv(source.fileno(), [self._buffer[: count - done]], start + done)
            if not got:
                raise DataError(f"{source.name} became shorter while it was read", "fetch or write it again")
            read = self._buffer[:got]
            hashed = self._hasher.submit(digest.update, read)
            _write_all(target.fileno(), read, at + done)
            hashed.result()
            done += got
            self._progress(got)
        return digest.hexdigest()


def _write_all(target: int, data: memoryview, at: int) -> None:
    while data:
        written = os.pwrite(target, data, at)
        data, at = data[written:], at + written


class Behind:
    """One job at a time in a thread, in order: `do` waits for the job before, and so does leaving the block."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._job: Future[Any] | None = None

    def do(self, job: Callable[..., object], *arguments: object) -> None:
        """Start a job; what the one before raised is raised here."""
        self._wait()
        self._job = self._pool.submit(job, *arguments)

    def _wait(self) -> None:
        job, self._job = self._job, None
        if job:
            job.result()

    def __enter__(self) -> "Behind":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._wait()
        finally:
            self._pool.shutdown()
