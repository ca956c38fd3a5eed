"""TFRecord files: whole records, every checksum checked, up to the end of the file or to the damage.

A record is its length (8 bytes), a checksum of these bytes, the payload, and a checksum of the payload; a checksum is a
masked CRC-32C of 4 bytes; numbers are little-endian.
source: TensorFlow's tensorflow/core/lib/io/record_writer.h and tensorflow/core/lib/hash/crc32c.h
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

BLOCK_BYTES = 2 << 20  # numpy's arrays for it stay in the processor's caches
_HEADER_BYTES = 12
_CHECKSUM_BYTES = 4
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Damage:
    """What ends a file's readable part, `offset` bytes from its beginning, and why."""

    path: Path
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason} at byte {self.offset:,}"


@dataclass(frozen=True)
class Block:
    """Records in order: payload i is data[starts[i]:ends[i]]. `damage` is what follows them, if anything.

    `offset` is where `data` lies in the file.
    """

    path: Path
    offset: int
    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    damage: Damage | None

    def damage_at(self, record: int, reason: str) -> Damage:
        """A damage that begins with a record."""
        return Damage(self.path, self.offset + int(self.starts[record]) - _HEADER_BYTES, reason)


def blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """The records of a file, about `block_bytes` at a time; the last block carries the damage that ended them."""
    headers: dict[bytes, int] = {}
    offset = 0
    with open(path, "rb") as handle:
        data = handle.read(block_bytes)
        while data:
            starts, ends, stop, reason = _checked(data, headers)
            missing = min(
                _missing(data[stop:]), path.stat().st_size
            )  # a length may be damaged and yet pass its check
            more = b"" if reason else handle.read(max(block_bytes, missing))
            if not reason and not more and stop < len(data):
                reason = "the last record is cut off, or still being written,"
            yield Block(
                path,
                offset,
                data,
                starts,
                ends,
                Damage(path, offset + stop, reason) if reason else None,
            )
            if not more:
                return
            data, offset = data[stop:] + more, offset + stop


def masked_crc32c(data: bytes) -> int:
    """The checksum of a header or payload as the file holds it."""
    return int(_masked(np.array([google_crc32c.value(data)], np.uint32))[0])


def _masked(checksums: np.ndarray) -> np.ndarray:
    rotated = (checksums >> np.uint32(15)) | (checksums << np.uint32(17))
    return rotated + np.uint32(0xA282EAD8)


def _missing(rest: bytes) -> int:
    """How many bytes a record lacks of which only the beginning is there, as far as that tells."""
    if len(rest) < _HEADER_BYTES:
        return 0
    return _HEADER_BYTES + int.from_bytes(rest[:8], "little") + _CHECKSUM_BYTES - len(rest)


def _checked(data: bytes, headers: dict[bytes, int]) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Starts and ends of the payloads, where the intact records stop, and why if it is for damage."""
    found, checksums, stop, reason = _records(data, headers)
    starts = np.array(found, np.int64) + _HEADER_BYTES
    ends = np.append(starts[1:] - _HEADER_BYTES, stop)[: len(starts)] - _CHECKSUM_BYTES
    stated = np.ndarray(max(0, len(data) - _CHECKSUM_BYTES + 1), "<u4", data, strides=(1,))[ends]
    wrong = np.flatnonzero(stated != _masked(np.array(checksums, np.uint32)))
    if not len(wrong):
        return starts, ends, stop, reason
    intact = int(wrong[0])
    return starts[:intact], ends[:intact], found[intact], "a record does not match its checksum"


def _records(data: bytes, headers: dict[bytes, int]) -> tuple[list[int], list[int], int, str]:
    """Where the whole records begin, their payloads' checksums, where they stop, and why if it is for damage.

    A file has few lengths of records, so that a header is checked once and then known, with the length of its record.
    This loop is most of what reading costs: slices and look-ups, nothing else.
    """
    position, size, found, checksums = 0, len(data), [], []
    known, note, keep, checksum = headers.get, found.append, checksums.append, google_crc32c.value
    while True:
        header = data[position : position + _HEADER_BYTES]
        following = position + known(header, 0)
        if following == position:
            if len(header) < _HEADER_BYTES:
                return found, checksums, position, ""
            length, stated = struct.unpack("<QI", header)
            if masked_crc32c(header[:8]) != stated:
                pointer = data.startswith(_LFS_POINTER)
                reason = "a git-lfs pointer stands for the file" if pointer else "no record begins"
                return found, checksums, position, reason
            headers[header] = _HEADER_BYTES + length + _CHECKSUM_BYTES
            following = position + headers[header]
        if following > size:
            return found, checksums, position, ""
        keep(checksum(data[position + _HEADER_BYTES : following - _CHECKSUM_BYTES]))
        note(position)
        position = following
