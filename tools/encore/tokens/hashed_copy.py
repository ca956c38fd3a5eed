"""Copies of file ranges that are hashed while they are copied.

The hash is XXH3 (128 bits), so that a checked copy is about as fast as an unchecked one. It finds
the faults of disks, networks and mixed-up files. Only a cryptographic hash would stop somebody who
means harm, but those are too slow: a core computes 1 GB/s of SHA-256 with the processor's own
instructions, 3 to 5 of BLAKE3 and 40 of XXH3, where `cat` copies 2 to 2.5 within the page cache.
"""

import os
from pathlib import Path

from xxhash import xxh3_128

from encore.errors import DataError
from encore.files import Progress, no_progress

# Threads that each copy a range: while one hashes, the other reads or writes.
COPIERS = 2
# After each span the disk is told to start writing.
_SPAN_BYTES = 32 << 20
# Small enough to stay in the processor's cache between reading, hashing and writing.
_CHUNK_BYTES = 1 << 20


def copy(
    source: Path,
    start: int,
    count: int,
    target: Path,
    target_start: int,
    progress: Progress = no_progress,
) -> str:
    """Copy `count` bytes from `start` of one file to `target_start` of another.

    The other file exists. Returns their XXH3 as hex; each byte is read once. Raises DataError when
    the source ends early.
    """
    digest = xxh3_128()
    buffer = memoryview(bytearray(_CHUNK_BYTES))
    copied = 0
    span_start = 0
    reading = os.open(source, os.O_RDONLY)
    writing = os.open(target, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        while copied < count:
            size = os.preadv(reading, [buffer[: count - copied]], start + copied)
            if not size:
                raise DataError(
                    f"{source} became shorter while it was read", f"fetch {source.name} again"
                )
            digest.update(buffer[:size])
            _write_all(writing, buffer[:size], target_start + copied, target)
            progress(size)
            copied += size
            if copied - span_start >= _SPAN_BYTES or copied == count:
                _start_writing_back(writing, target_start + span_start, copied - span_start)
                span_start = copied
    finally:
        os.close(reading)
        os.close(writing)
    return digest.hexdigest()


def _write_all(descriptor: int, data: memoryview, position: int, path: Path) -> None:
    try:
        while data:
            size = os.pwrite(descriptor, data, position)
            data = data[size:]
            position += size
    except OSError as error:
        # a failed write() does not know the name of its file
        error.filename = str(path)
        raise


def _start_writing_back(descriptor: int, start: int, count: int) -> None:
    """Start writing a range to disk, so that little is left for the fsync at the end.

    Linux begins to write dirty pages that POSIX_FADV_DONTNEED names; it drops only clean ones from
    the cache, which bytes just written are not (source: Linux 6.1 mm/fadvise.c).
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, count, os.POSIX_FADV_DONTNEED)
