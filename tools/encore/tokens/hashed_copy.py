"""Copies of file ranges, hashed on the way.

XXH3 (128 bits), because a copy that is checked should be about as fast as one that is not. It finds what a disk, a
network or a mix-up of files does; against somebody who means harm only a cryptographic hash helps, and these cost too
much: a core makes 1 GB/s of SHA-256 with the processor's own instructions, 3 to 5 of BLAKE3 and 40 of XXH3, where `cat`
copies 2 to 2.5 within the page cache.
"""

import os
from pathlib import Path

from xxhash import xxh3_128

from encore.errors import DataError
from encore.files import Progress, no_progress

COPIERS = 2  # threads that each copy a range: as one hashes, the other reads or writes
_SPAN_BYTES = 32 << 20  # that the disk is told to begin with at once
_CHUNK_BYTES = 1 << 20  # between reading, hashing and writing it stays in the processor's cache


def copy(
    source: Path, start: int, count: int, target: Path, at: int, progress: Progress = no_progress
) -> str:
    """Copy `count` bytes from `start` of one file to `at` of another; returns their XXH3 as hex.

    Each byte is read once. Raises DataError when the source ends before.
    """
    digest, buffer, unsaid = xxh3_128(), memoryview(bytearray(_CHUNK_BYTES)), at
    reading = os.open(source, os.O_RDONLY)
    writing = os.open(target, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        while count:
            got = os.preadv(reading, [buffer[:count]], start)
            if not got:
                raise DataError(
                    f"{source} became shorter while it was read", "fetch or write it again"
                )
            digest.update(buffer[:got])
            _write_all(writing, buffer[:got], at, target)
            progress(got)
            start, at, count = start + got, at + got, count - got
            if at - unsaid >= _SPAN_BYTES or not count:
                _start_writing_back(writing, unsaid, at - unsaid)
                unsaid = at
    finally:
        os.close(reading)
        os.close(writing)
    return digest.hexdigest()


def _write_all(descriptor: int, data: memoryview, at: int, path: Path) -> None:
    try:
        while data:
            written = os.pwrite(descriptor, data, at)
            data, at = data[written:], at + written
    except OSError as error:
        error.filename = str(path)  # a failed write() does not know what it wrote to
        raise


def _start_writing_back(target: int, at: int, count: int) -> None:
    """Let the disk begin, so that an fsync in the end finds little left to do.

    Linux starts to write what POSIX_FADV_DONTNEED names; what it drops from memory is on the disk already, which bytes
    just written are not (source: Linux 6.1 mm/fadvise.c).
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(target, at, count, os.POSIX_FADV_DONTNEED)
