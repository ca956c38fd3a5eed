"""TFRecord files: whole records with every checksum checked, up to the end or to the damage.

A record is its length (8 bytes), a checksum of these bytes, the payload, and a checksum of the
payload. A checksum is a masked CRC-32C of 4 bytes; numbers are little-endian.
source: TensorFlow's tensorflow/core/lib/io/record_writer.h and tensorflow/core/lib/hash/crc32c.h
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np

from encore import data_file

# numpy's arrays for a block of this size stay in the processor's caches
BLOCK_BYTES = 2 << 20
_HEADER_BYTES = 12
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class Damage:
    """The end of a file's readable part: `offset` bytes from its beginning, and why."""

    path: Path
    offset: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason} at byte {self.offset:,}"


@dataclass(frozen=True)
class RecordBlock:
    """Records in order: payload i is data[starts[i]:ends[i]]; both arrays have shape [records].

    offset: where `data` lies in the file. damage: what follows the records, if anything.
    """

    path: Path
    offset: int
    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    damage: Damage | None

    def damage_at(self, record: int, reason: str) -> Damage:
        """Damage that begins with this record."""
        return Damage(self.path, self.offset + int(self.starts[record]) - _HEADER_BYTES, reason)


def blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[RecordBlock]:
    """The records of a file, about `block_bytes` at a time; the last block has the damage, if any.

    A record that is longer than a block is read whole.
    """
    # shared by all blocks: few headers differ
    headers: dict[bytes, int] = {}
    offset = 0
    with open(path, "rb") as handle:
        data = handle.read(block_bytes)
        while data:
            span = _intact_records(data, headers)
            reason = span.reason
            more = b""
            if not reason:
                # a damaged length can pass its checksum: never ask for more than the file has
                missing = min(_missing_bytes(data[span.stop :]), path.stat().st_size)
                more = handle.read(max(block_bytes, missing))
                if not more and span.stop < len(data):
                    reason = "the last record is cut off, or still being written,"
            damage = None
            if reason:
                damage = Damage(path, offset + span.stop, reason)
            yield RecordBlock(path, offset, data, span.starts, span.ends, damage)
            if not more:
                return
            # the record that the block cut is read again with its rest
            data = data[span.stop :] + more
            offset += span.stop


def masked_crc32c(data: bytes) -> int:
    """The checksum of a header or payload as the file holds it."""
    return int(_mask(np.array([google_crc32c.value(data)], np.uint32))[0])


def _mask(checksums: np.ndarray) -> np.ndarray:
    rotated = (checksums >> np.uint32(15)) | (checksums << np.uint32(17))
    masked: np.ndarray = rotated + np.uint32(0xA282EAD8)
    return masked


def _missing_bytes(rest: bytes) -> int:
    """The bytes that an incomplete record lacks; 0 where its length is not complete either."""
    if len(rest) < _HEADER_BYTES:
        return 0
    return _HEADER_BYTES + int.from_bytes(rest[:8], "little") + _CHECKSUM_BYTES - len(rest)


class _Span(NamedTuple):
    """Starts and ends of intact payloads, where their records stop, and why if it is for damage."""

    starts: np.ndarray
    ends: np.ndarray
    stop: int
    reason: str


def _intact_records(data: bytes, headers: dict[bytes, int]) -> _Span:
    positions, crcs, stop, reason = _whole_records(data, headers)
    starts = np.array(positions, np.int64) + _HEADER_BYTES
    # a payload ends a checksum before the next record begins
    ends = np.append(starts[1:] - _HEADER_BYTES, stop)[: len(starts)] - _CHECKSUM_BYTES
    # every 4 bytes of the data as a number, of which those behind the payloads are looked at
    words = np.ndarray(max(0, len(data) - _CHECKSUM_BYTES + 1), "<u4", data, strides=(1,))
    mismatches = np.flatnonzero(words[ends] != _mask(np.array(crcs, np.uint32)))
    if not len(mismatches):
        return _Span(starts, ends, stop, reason)
    intact = int(mismatches[0])
    reason = "a record does not match its checksum"
    return _Span(starts[:intact], ends[:intact], positions[intact], reason)


def _whole_records(data: bytes, headers: dict[bytes, int]) -> tuple[list[int], list[int], int, str]:
    """Where records begin, their payloads' CRCs, where they stop, and why if it is for damage.

    headers: the bytes of a record by its checked header. A file has few lengths of records, so most
    headers are checked once. This loop is most of what reading costs: it has slices and look-ups,
    and nothing else.
    """
    positions: list[int] = []
    crcs: list[int] = []
    add_position = positions.append
    add_crc = crcs.append
    known_bytes = headers.get
    crc32c = google_crc32c.value
    size = len(data)
    position = 0
    while True:
        header = data[position : position + _HEADER_BYTES]
        following = position + known_bytes(header, 0)
        if following == position:
            if len(header) < _HEADER_BYTES:
                return positions, crcs, position, ""
            length, stated_crc = struct.unpack("<QI", header)
            if masked_crc32c(header[:8]) != stated_crc:
                reason = "no record begins"
                if data_file.is_lfs_pointer(data):
                    reason = "a git-lfs pointer stands for the file"
                return positions, crcs, position, reason
            headers[header] = _HEADER_BYTES + length + _CHECKSUM_BYTES
            following = position + headers[header]
        if following > size:
            return positions, crcs, position, ""
        add_crc(crc32c(data[position + _HEADER_BYTES : following - _CHECKSUM_BYTES]))
        add_position(position)
        position = following
