"""Checks of a .bin/.idx pair, or of the parts of its .bin, against index, manifests and vocabulary.

PREFIX.json         by prepare_corpus.py tokenize: documents, tokens, dtype, SHA-256 of both files
PREFIX.parts.json   by bins.py split: bytes and XXH3 of each part of the .bin
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from xxhash import xxh3_128

from encore import data_file, files
from encore.errors import DataError
from encore.files import Progress, no_progress
from encore.findings import Finding
from encore.tokens import part_manifest
from encore.tokens.indexed import REPLACE_PAIR, Index, bin_path, idx_path
from encore.tokens.manifest import TOKENIZE_AGAIN, Manifest

_CHUNK_BYTES = 8 << 20
# above every id of any dtype, so that only negative ids are out of range
_NO_VOCABULARY = 2**63


@dataclass(frozen=True)
class _Extent:
    """A range of the .bin: the file that holds it, its start there, its bytes, its XXH3."""

    name: str
    path: Path
    start: int
    bytes: int
    xxh3_128: str | None


def verify(
    prefix: Path, vocabulary: int | None = None, progress: Progress = no_progress
) -> list[Finding]:
    """Check all that can be checked of PREFIX.

    vocabulary: all ids must be below it; by default, only negative ids are wrong.
    Every token is read once, from the parts of the .bin where there is no .bin.
    """
    try:
        index = Index(prefix)
        extents = _extents(prefix)
    except DataError as error:
        return [Finding("files", False, str(error), error.hint)]
    problem = index.problem()
    sound = f"{len(index):,} sequences, end to end"
    findings = [Finding("index", problem is None, problem or sound, REPLACE_PAIR)]
    findings += _size_findings(index, extents)
    manifest = None
    try:
        manifest = Manifest.read(prefix)
    except DataError as error:
        findings.append(Finding("manifest", False, str(error), error.hint))

    sha256 = hashlib.sha256()
    ids = _IdRange(index, vocabulary)
    consumers: list[Callable[[bytes], None]] = []
    if manifest is not None:
        consumers.append(sha256.update)
    # ids of an unsigned dtype are checked only against a vocabulary
    if ids.can_be_exceeded:
        consumers.append(ids.add)
    damaged = _read_once(extents, consumers, progress)

    findings += _part_findings(extents, damaged)
    if manifest is not None:
        findings.append(_manifest_finding(manifest, index, sha256.hexdigest()))
    if ids.can_be_exceeded:
        findings.append(ids.finding())
    return findings


def _extents(prefix: Path) -> list[_Extent]:
    """The ranges of the .bin, or its parts; raises DataError when neither exists."""
    target = bin_path(prefix)
    parts = part_manifest.read_manifest(prefix)
    extents = []
    if not target.exists():
        for part in parts or part_manifest.find(prefix):
            path = target.with_name(part.name)
            extents.append(_Extent(part.name, path, 0, part.bytes, part.xxh3_128))
        return extents
    size = data_file.check(target)
    if parts is None:
        return [_Extent(target.name, target, 0, size, None)]
    start = 0
    for part in parts:
        name = f"the range of {target.name} that was {part.name}"
        extents.append(_Extent(name, target, start, part.bytes, part.xxh3_128))
        start += part.bytes
    return extents


def _size_findings(index: Index, extents: Sequence[_Extent]) -> list[Finding]:
    """Compare the sizes of the files with those that the manifest of parts and the .idx state."""
    stated: dict[Path, int] = {}
    for extent in extents:
        stated[extent.path] = stated.get(extent.path, 0) + extent.bytes
    findings = []
    total = 0
    for path, size in stated.items():
        advice = f"fetch {path.name} again"
        if not path.is_file():
            findings.append(Finding("bytes", False, f"{path} does not exist", advice))
            continue
        actual = path.stat().st_size
        total += actual
        if actual != size:
            fault = f"{path} has {actual:,} bytes, the manifest of its parts says {size:,}"
            findings.append(Finding("bytes", False, fault, advice))
    if total == index.bin_bytes:
        findings.append(Finding("bytes", True, f"{total:,} bytes of tokens, as the .idx says"))
    else:
        fault = f"{total:,} bytes of tokens, the .idx says {index.bin_bytes:,}"
        findings.append(Finding("bytes", False, fault, REPLACE_PAIR))
    return findings


def _part_findings(extents: Sequence[_Extent], damaged: Sequence[_Extent]) -> list[Finding]:
    """What the hashes of the parts say; nothing where none are known."""
    if damaged:
        faults = []
        # a dict, as an ordered set: the ranges of one .bin share its path
        names: dict[str, None] = {}
        for extent in damaged:
            faults.append(f"{extent.name} differs from the manifest")
            names[extent.path.name] = None
        return [Finding("parts", False, "; ".join(faults), f"fetch {', '.join(names)} again")]
    hashed = 0
    for extent in extents:
        if extent.xxh3_128 is not None:
            hashed += 1
    if not hashed:
        return []
    return [Finding("parts", True, f"XXH3 of {hashed} parts as in the manifest")]


def _manifest_finding(manifest: Manifest, index: Index, bin_sha256: str) -> Finding:
    idx = idx_path(index.prefix)
    digests = {bin_path(index.prefix).name: bin_sha256, idx.name: files.sha256(idx)}
    mismatch = manifest.mismatch(index, digests)
    if mismatch is not None:
        return Finding("manifest", False, mismatch, TOKENIZE_AGAIN)
    agreement = f"documents, tokens, dtype and SHA-256 as in {manifest.path(index.prefix)}"
    return Finding("manifest", True, agreement)


def _read_once(
    extents: Sequence[_Extent],
    consumers: Sequence[Callable[[bytes], None]],
    progress: Progress,
) -> list[_Extent]:
    """Hand every byte to all consumers, in parallel; returns the extents with another XXH3."""
    damaged = []
    with ThreadPoolExecutor(len(consumers) + 1) as pool:
        for extent in extents:
            digest = xxh3_128()
            for chunk in _chunks(extent):
                # hashing and numpy release the GIL; each consumer sees the chunks in order
                futures = [pool.submit(consume, chunk) for consume in consumers]
                if extent.xxh3_128 is not None:
                    digest.update(chunk)
                for future in futures:
                    future.result()
                progress(len(chunk))
            if extent.xxh3_128 not in (None, digest.hexdigest()):
                damaged.append(extent)
    return damaged


def _chunks(extent: _Extent) -> Iterator[bytes]:
    """The bytes of an extent; fewer, or none, where the file ends early."""
    if not extent.path.is_file():
        return
    with open(extent.path, "rb") as handle:
        handle.seek(extent.start)
        remaining = extent.bytes
        while remaining and (chunk := handle.read(min(remaining, _CHUNK_BYTES))):
            yield chunk
            remaining -= len(chunk)


class _IdRange:
    """Looks for ids outside the vocabulary, chunk by chunk.

    A part that GNU split made may end within a token; its bytes wait for the next chunk.
    """

    def __init__(self, index: Index, vocabulary: int | None) -> None:
        self.can_be_exceeded = vocabulary is not None or index.dtype.kind == "i"
        self._index = index
        self._limit = _NO_VOCABULARY
        self._allowed = "0 or more"
        if vocabulary is not None:
            self._limit = vocabulary
            self._allowed = f"below {vocabulary:,}"
        self._rest = b""
        self._tokens = 0
        self._outside = 0
        self._largest = -1
        self._first: tuple[int, int] | None = None

    def add(self, chunk: bytes) -> None:
        """Look at the next bytes of the .bin."""
        data = self._rest + chunk
        itemsize = self._index.dtype.itemsize
        count = len(data) // itemsize
        self._rest = data[count * itemsize :]
        if not count:
            return
        ids = np.frombuffer(data, self._index.dtype, count)
        smallest = int(ids.min())
        largest = int(ids.max())
        self._largest = max(self._largest, largest)
        # the masks are costly, and needed only where something is wrong
        if smallest < 0 or largest >= self._limit:
            outside = (ids < 0) | (ids.astype(np.int64) >= self._limit)
            self._outside += int(outside.sum())
            if self._first is None:
                position = int(outside.argmax())
                self._first = (self._tokens + position, int(ids[position]))
        self._tokens += count

    def finding(self) -> Finding:
        """The result, after the last chunk."""
        if self._first is None:
            largest = f"the largest is {self._largest:,}; all must be {self._allowed}"
            return Finding("ids", True, largest)
        token, value = self._first
        byte = token * self._index.dtype.itemsize
        sequence = int(np.searchsorted(self._index.pointers, byte, "right")) - 1
        document = int(np.searchsorted(self._index.doc_idx, sequence, "right")) - 1
        return Finding(
            "ids",
            False,
            f"{self._outside:,} ids are not {self._allowed}; the first is {value:,},"
            f" token {token:,} of all, in document {document:,}",
            "verify with the tokenizer that the data was made with: --tokenizer NAME|FOLDER",
        )
