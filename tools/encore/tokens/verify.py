"""Whether a .bin/.idx pair, or the parts of its .bin, are what index, manifests and vocabulary say.

PREFIX.json         how prepare_corpus.py made the pair: documents, tokens, dtype, SHA-256 of both files
PREFIX.parts.json   what bins.py split made of the .bin: bytes and XXH3 of each range of it
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from xxhash import xxh3_128

from encore import files
from encore.errors import DataError
from encore.tokens import part_manifest
from encore.tokens.hashed_copy import Progress, silent
from encore.tokens.indexed import Index, bin_path, idx_path
from encore.tokens.manifest import Manifest

_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class Verdict:
    """What was looked at, whether it is right, and what was found there."""

    what: str
    right: bool
    found: str


@dataclass(frozen=True)
class _Extent:
    """A range of the .bin: the file that holds it, from where, how much, and its XXH3, where that is known."""

    name: str
    path: Path
    start: int
    bytes: int
    xxh3_128: str | None


def verify(
    prefix: Path, vocabulary: int | None = None, progress: Progress = silent
) -> list[Verdict]:
    """All that can be checked of PREFIX, wrong or right; that ids are below `vocabulary` only where that is given.

    Every token is read once. Where there is no .bin its parts are read instead.
    """
    try:
        index = Index(prefix)
        extents = _extents(prefix)
    except DataError as error:
        return [Verdict("files", False, str(error))]
    problem = index.problem()
    verdicts = [
        Verdict("index", problem is None, problem or f"{len(index):,} sequences, end to end")
    ]
    verdicts += _sizes(index, extents)
    manifest = None
    try:
        manifest = Manifest.read(prefix)
    except DataError as error:
        verdicts.append(Verdict("manifest", False, str(error)))
    sha256 = hashlib.sha256() if manifest else None
    ids = _Ids(index, vocabulary)
    damaged = _read_once(
        extents,
        [*([sha256.update] if sha256 else []), *([ids.look] if ids.wanted else [])],
        progress,
    )
    known = sum(extent.xxh3_128 is not None for extent in extents)
    if known:
        found = (
            "; ".join(f"{name} differs from the manifest" for name in damaged)
            or f"XXH3 of {known} parts as in the manifest"
        )
        verdicts.append(Verdict("parts", not damaged, found))
    if manifest and sha256:
        digests = {
            bin_path(prefix).name: sha256.hexdigest(),
            idx_path(prefix).name: files.sha256(idx_path(prefix)),
        }
        mismatch = manifest.mismatch(index, digests)
        agrees = f"documents, tokens, dtype and SHA-256 as in {manifest.path(prefix)}"
        verdicts.append(Verdict("manifest", mismatch is None, mismatch or agrees))
    return [*verdicts, ids.verdict()] if ids.wanted else verdicts


def _extents(prefix: Path) -> list[_Extent]:
    """What the .bin consists of. Raises DataError when neither it nor any part is there."""
    target, manifest = bin_path(prefix), part_manifest.read_manifest(prefix)
    if not target.is_file():
        parts = manifest or part_manifest.find(prefix)
        return [
            _Extent(part.name, target.with_name(part.name), 0, part.bytes, part.xxh3_128)
            for part in parts
        ]
    extents, at = [], 0
    for part in manifest or [part_manifest.BinPart(target.name, target.stat().st_size)]:
        name = (
            part.name
            if part.name == target.name
            else f"the range of {target.name} that was {part.name}"
        )
        extents.append(_Extent(name, target, at, part.bytes, part.xxh3_128))
        at += part.bytes
    return extents


def _sizes(index: Index, extents: Sequence[_Extent]) -> Iterator[Verdict]:
    """The bytes that are there against those that the index and the manifest of parts say."""
    paths = {extent.path: 0 for extent in extents}
    for extent in extents:
        paths[extent.path] += extent.bytes
    found = {path: path.stat().st_size if path.is_file() else None for path in paths}
    for path, told in paths.items():
        if found[path] is None:
            yield Verdict("bytes", False, f"{path} does not exist")
        elif found[path] != told:
            yield Verdict(
                "bytes",
                False,
                f"{path} has {found[path]:,} bytes, the manifest of its parts says {told:,}",
            )
    total = sum(size or 0 for size in found.values())
    if total != index.bin_bytes:
        yield Verdict(
            "bytes",
            False,
            f"{total:,} bytes of tokens are there, the .idx says {index.bin_bytes:,}",
        )
    else:
        yield Verdict("bytes", True, f"{total:,} bytes of tokens, as the .idx says")


def _read_once(
    extents: Sequence[_Extent], consumers: Sequence[Callable[[bytes], object]], progress: Progress
) -> list[str]:
    """Give every byte to all consumers, at the same time; returns the names of the extents whose hash differs."""
    damaged = []
    with ThreadPoolExecutor(len(consumers) + 1) as pool:
        for extent in extents:
            digest = xxh3_128()
            for chunk in _chunks(extent):
                jobs = [pool.submit(consume, chunk) for consume in consumers]
                if extent.xxh3_128:
                    digest.update(chunk)
                for job in jobs:
                    job.result()
                progress(len(chunk))
            if extent.xxh3_128 not in (None, digest.hexdigest()):
                damaged.append(extent.name)
    return damaged


def _chunks(extent: _Extent) -> Iterator[bytes]:
    """The bytes of an extent; fewer, or none, where the file ends early."""
    if not extent.path.is_file():
        return
    with open(extent.path, "rb") as handle:
        handle.seek(extent.start)
        left = extent.bytes
        while left and (chunk := handle.read(min(left, _CHUNK_BYTES))):
            yield chunk
            left -= len(chunk)


class _Ids:
    """Looks for ids outside the vocabulary; an original part may end within a token, so that bytes can be left over."""

    def __init__(self, index: Index, vocabulary: int | None) -> None:
        self.wanted = vocabulary is not None or index.dtype.kind == "i"
        self._index, self._vocabulary = index, vocabulary
        self._rest = b""
        self._seen = self._wrong = 0
        self._largest = -1
        self._first: tuple[int, int] | None = None

    def look(self, chunk: bytes) -> None:
        """The next bytes of the .bin."""
        data = self._rest + chunk if self._rest else chunk
        whole = len(data) - len(data) % self._index.dtype.itemsize
        ids, self._rest = (
            np.frombuffer(data[:whole] if whole < len(data) else data, self._index.dtype),
            data[whole:],
        )
        if not len(ids):
            return
        largest = int(ids.max())
        self._largest = max(self._largest, largest)
        if int(ids.min()) < 0 or (self._vocabulary is not None and largest >= self._vocabulary):
            wrong = (ids < 0) | (ids.astype(np.int64) >= (self._vocabulary or 2**62))
            self._wrong += int(wrong.sum())
            at = int(wrong.argmax())
            self._first = self._first or (self._seen + at, int(ids[at]))
        self._seen += len(ids)

    def verdict(self) -> Verdict:
        """What came of it."""
        allowed = "0 or more" if self._vocabulary is None else f"below {self._vocabulary:,}"
        if self._first is None:
            return Verdict(
                "ids", True, f"the largest is {self._largest:,}, all are to be {allowed}"
            )
        token, value = self._first
        sequence = (
            int(np.searchsorted(self._index.pointers, token * self._index.dtype.itemsize, "right"))
            - 1
        )
        document = int(np.searchsorted(self._index.doc_idx, sequence, "right")) - 1
        what = (
            f"{self._wrong:,} ids are not {allowed}: the first is {value:,}, token {token:,} of all"
        )
        return Verdict("ids", False, f"{what}, in document {document:,}")
