"""Megatron's indexed token datasets: PREFIX.bin holds token ids, PREFIX.idx locates each document.

The .idx is little-endian: magic `MMIDIDX\\0\\0`, version 1 (u64), dtype code (u8), number of
sequences n (u64), length d of the document index (u64); then sizes int32[n] in tokens, pointers
int64[n] in bytes, doc_idx int64[d]. The kit writes a sequence per document, as Megatron does
without --split-sentences, so doc_idx is 0..n. Every fork that the kit trains with reads this form.
Source: TurkuNLP 6732bc9 megatron/data/indexed_dataset.py, MMapIndexedDataset.
"""

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from encore import data_file, files
from encore.errors import DataError

REPLACE_PAIR = "tokenize again with tools/prepare_corpus.py tokenize, or fetch the pair again"

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_VERSION = 1
# The codes of integer dtypes. 6 and 7 are floating point, and forks disagree on which is which.
_DTYPES: dict[int, np.dtype[np.integer]] = {
    1: np.dtype("u1"),
    2: np.dtype("i1"),
    3: np.dtype("<i2"),
    4: np.dtype("<i4"),
    5: np.dtype("<i8"),
    8: np.dtype("<u2"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_UINT16_BELOW_VOCABULARY = 65500
# Sequences per step while an index is read or written, so that memory stays small at any size.
_INDEX_CHUNK = 1 << 18
_INT32_MAX = np.iinfo(np.int32).max

Tokens = npt.NDArray[np.integer]
_Scalar = TypeVar("_Scalar", bound=np.generic)


def smallest_dtype(vocabulary_size: int) -> np.dtype[np.integer]:
    """The dtype in which Megatron stores ids: uint16 below 65,500 vocabulary entries, else int32.

    Megatron's preprocess_data.py decides by the tokenizer's own size, which the kit follows;
    preprocess_data_many_cores.py by the padded size, so that the two differ from 65,409 to 65,499
    entries. Source: TurkuNLP 6732bc9 megatron/data/indexed_dataset.py, best_fitting_dtype; the
    other forks agree.
    """
    if vocabulary_size < _UINT16_BELOW_VOCABULARY:
        return np.dtype("<u2")
    return np.dtype("<i4")


def bin_path(prefix: str | os.PathLike[str]) -> Path:
    """The path of the token ids of `prefix`."""
    return Path(f"{os.fspath(prefix)}.bin")


def idx_path(prefix: str | os.PathLike[str]) -> Path:
    """The path of the index of `prefix`."""
    return Path(f"{os.fspath(prefix)}.idx")


class Index:
    """A memory-mapped .idx; raises DataError unless its size is what its header states.

    sizes: int32 (n,), tokens of each sequence. pointers: int64 (n,), byte offset of each.
    doc_idx: int64 (d,), first sequence of each document, then n.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.prefix = os.fspath(prefix)
        self.dtype, count = _read_header(idx_path(prefix))
        index = _map(idx_path(prefix), np.dtype(np.uint8))
        sizes_end = _HEADER.size + 4 * count
        pointers_end = sizes_end + 8 * count
        self.sizes: npt.NDArray[np.int32] = index[_HEADER.size : sizes_end].view("<i4")
        self.pointers: npt.NDArray[np.int64] = index[sizes_end:pointers_end].view("<i8")
        self.doc_idx: npt.NDArray[np.int64] = index[pointers_end:].view("<i8")

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def document_count(self) -> int:
        """Number of documents, each of one or more sequences."""
        return max(len(self.doc_idx) - 1, 0)

    @property
    def token_count(self) -> int:
        """Number of tokens in all sequences."""
        # int32, the dtype of the sizes, would wrap at 2.1B tokens
        return int(np.sum(self.sizes, dtype=np.int64))

    @property
    def bin_bytes(self) -> int:
        """The size that the .bin must have."""
        if not len(self):
            return 0
        return int(self.pointers[-1]) + int(self.sizes[-1]) * self.dtype.itemsize

    def problem(self) -> str | None:
        """The first inconsistency, None where the sequences lie end to end and fill the .bin.

        Opening an index does not look for this: each entry is read only when its document is.
        """
        first = 0
        # in chunks, so that an index larger than memory can be checked
        for expected in _pointers(_chunks([self]), self.dtype.itemsize):
            sizes = self.sizes[first : first + len(expected)]
            pointers = self.pointers[first : first + len(expected)]
            negative = sizes < 0
            if negative.any():
                i = int(negative.argmax())
                return f"sequence {first + i:,} has {int(sizes[i]):,} tokens"
            misplaced = pointers != expected
            if misplaced.any():
                i = int(misplaced.argmax())
                return (
                    f"sequence {first + i:,} begins at byte {int(pointers[i]):,} instead of"
                    f" {int(expected[i]):,}"
                )
            first += len(expected)
        ends = self.doc_idx
        if not len(ends) or ends[0] != 0 or ends[-1] != len(self):
            return f"its document index does not run from 0 to {len(self):,}"
        descending = ends[1:] < ends[:-1]
        if descending.any():
            return f"document {int(descending.argmax()):,} ends before it begins"
        return None

    def check(self) -> None:
        """Raise DataError where there is a `problem`."""
        problem = self.problem()
        if problem is not None:
            raise DataError(f"{idx_path(self.prefix)} is wrong: {problem}", REPLACE_PAIR)


class IndexedDataset(Index):
    """A memory-mapped, read-only .bin/.idx pair; raises DataError when their sizes do not agree.

    tokens: (total,) of `dtype`, the whole .bin.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        super().__init__(prefix)
        path = bin_path(self.prefix)
        _check_size(path, _size(path), self.bin_bytes, "its .idx")
        self.tokens: Tokens = _map(path, self.dtype)

    def __reduce__(self) -> tuple[type["IndexedDataset"], tuple[str]]:
        # a worker process maps the files itself instead of receiving copies of them
        return IndexedDataset, (self.prefix,)

    def get(self, i: int, offset: int = 0, length: int | None = None) -> Tokens:
        """A view (length,) of sequence `i` from its token `offset` on, by default to its end."""
        size = int(self.sizes[i])
        if length is None:
            length = size - offset
        stop = offset + length
        if not 0 <= offset <= stop <= size:
            raise IndexError(f"tokens {offset}:{stop} of sequence {i}, which has {size}")
        first = int(self.pointers[i]) // self.dtype.itemsize
        return self.tokens[first + offset : first + stop]


class IndexedWriter:
    """Streams documents into PREFIX.bin/.idx, which appear only if the `with` block succeeds.

    documents, tokens: how many were added so far. Memory does not grow with them: sizes go straight
    to the temporary .idx, and pointers are derived from them at the end.
    """

    def __init__(self, prefix: str | os.PathLike[str], dtype: npt.DTypeLike) -> None:
        self.prefix = os.fspath(prefix)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.documents = 0
        self.tokens = 0
        self._digest = hashlib.sha256()
        self._code = _CODES[self.dtype]
        self._open_files = self._files()

    def __enter__(self) -> "IndexedWriter":
        self._open_files.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._open_files.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def _files(self) -> Iterator[None]:
        with (
            new_pair(self.prefix) as (tokens, idx),
            open(idx, "w+b") as self._idx,
            open(tokens, "wb") as self._bin,
        ):
            # the header counts the documents, so that its place is left free until the end
            self._idx.write(bytes(_HEADER.size))
            yield
            self._finish_index()

    @property
    def bin_sha256(self) -> str:
        """The SHA-256, as hex, of what was added so far; in the end, of the .bin."""
        return self._digest.hexdigest()

    def add(self, token_ids: npt.ArrayLike) -> None:
        """Append one document."""
        flat = np.asarray(token_ids)
        self.add_batch(flat, np.array([flat.size]))

    def add_batch(self, flat_tokens: npt.ArrayLike, lengths: npt.ArrayLike) -> None:
        """Append documents that lie end to end in `flat_tokens` (total,), of `lengths` (n,) each.

        The ids are cast to the dtype unchecked. Raises DataError for more tokens than int32 counts.
        """
        sizes = np.asarray(lengths, dtype=np.int64)
        if sizes.size and int(sizes.max()) > _INT32_MAX:
            raise DataError(
                f"a document has {int(sizes.max()):,} tokens; an .idx holds at most {_INT32_MAX:,}"
            )
        # a no-op for what the encoders return: contiguous, of the dtype
        flat = np.ascontiguousarray(flat_tokens, dtype=self.dtype)
        if int(sizes.sum()) != flat.size:
            raise ValueError(f"lengths add up to {int(sizes.sum())}, not to {flat.size} tokens")
        self._bin.write(flat.data)
        self._digest.update(flat.data)
        self._idx.write(sizes.astype("<i4").data)
        self.documents += sizes.size
        self.tokens += flat.size

    def _finish_index(self) -> None:
        """Write what follows the sizes: pointers and document index; and last the header."""
        first = 0
        for pointers in _pointers(self._sizes(), self.dtype.itemsize):
            self._idx.seek(_HEADER.size + 4 * self.documents + 8 * first)
            self._idx.write(pointers.data)
            first += len(pointers)
        self._idx.seek(_HEADER.size + 12 * self.documents)
        ends = self.documents + 1
        for first in range(0, ends, _INDEX_CHUNK):
            stop = min(first + _INDEX_CHUNK, ends)
            self._idx.write(np.arange(first, stop, dtype="<i8").data)
        self._idx.seek(0)
        self._idx.write(_HEADER.pack(_MAGIC, _VERSION, self._code, self.documents, ends))

    def _sizes(self) -> Iterator[npt.NDArray[np.int32]]:
        """The sizes that the temporary .idx holds, in chunks; leaves its position anywhere."""
        for first in range(0, self.documents, _INDEX_CHUNK):
            self._idx.seek(_HEADER.size + 4 * first)
            chunk = self._idx.read(4 * min(_INDEX_CHUNK, self.documents - first))
            yield np.frombuffer(chunk, dtype="<i4")


@contextlib.contextmanager
def new_pair(prefix: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Temporary paths for a .bin and its .idx, which get their names if the block succeeds."""
    idx = idx_path(prefix)
    with files.atomic(idx) as idx_temporary, files.atomic(bin_path(prefix)) as bin_temporary:
        yield bin_temporary, idx_temporary
        files.fsync(idx_temporary)
        files.fsync(bin_temporary)
        # The .idx is renamed last: a kill must not leave an older index beside the new tokens.
        idx.unlink(missing_ok=True)


def write_index(path: Path, indices: Sequence[Index]) -> None:
    """Write the .idx of the .bin files of `indices`, at least one, end to end; all of one dtype."""
    dtype = indices[0].dtype
    sequences = sum(map(len, indices))
    documents = sum(index.document_count for index in indices)
    with open(path, "wb") as out:
        out.write(_HEADER.pack(_MAGIC, _VERSION, _CODES[dtype], sequences, documents + 1))
        for sizes in _chunks(indices):
            out.write(np.ascontiguousarray(sizes).data)
        for pointers in _pointers(_chunks(indices), dtype.itemsize):
            out.write(pointers.data)
        out.write(np.zeros(1, "<i8").data)
        before = 0
        for index in indices:
            for first in range(1, len(index.doc_idx), _INDEX_CHUNK):
                out.write((index.doc_idx[first : first + _INDEX_CHUNK] + before).astype("<i8").data)
            before += len(index)


def _chunks(indices: Sequence[Index]) -> Iterator[npt.NDArray[np.int32]]:
    for index in indices:
        for first in range(0, len(index), _INDEX_CHUNK):
            yield index.sizes[first : first + _INDEX_CHUNK]


def _pointers(
    sizes: Iterable[npt.NDArray[np.int32]], itemsize: int
) -> Iterator[npt.NDArray[np.int64]]:
    """The byte offset of each sequence, for chunks of sizes in tokens."""
    start = 0
    for chunk in sizes:
        # in int64: Megatron-LM's merge let int32 wrap (its issue 1672)
        lengths = chunk.astype("<i8") * itemsize
        ends = start + np.cumsum(lengths, dtype="<i8")
        yield ends - lengths
        start = int(ends[-1])


def _read_header(path: Path) -> tuple[np.dtype[np.integer], int]:
    """dtype and number of sequences; raises DataError unless the file is as large as they imply."""
    size = _size(path)
    with open(path, "rb") as handle:
        head = handle.read(_HEADER.size)
    if not head.startswith(_MAGIC):
        raise DataError(
            f"{path} is not a Megatron .idx: it does not begin with MMIDIDX",
            "give the prefix of a pair that tools/prepare_corpus.py tokenize or Megatron wrote",
        )
    if len(head) < _HEADER.size:
        raise DataError(
            f"{path} is truncated: {size} bytes, its header alone has {_HEADER.size}", REPLACE_PAIR
        )
    _, version, code, count, documents = _HEADER.unpack(head)
    if version != _VERSION:
        raise DataError(f"{path} has version {version}; only version {_VERSION} can be read")
    if code not in _DTYPES:
        valid = ", ".join(f"{code} {dtype.name}" for code, dtype in _DTYPES.items())
        raise DataError(f"{path} has dtype code {code}; token ids have one of: {valid}")
    _check_size(path, size, _HEADER.size + 12 * count + 8 * documents, "its header")
    return _DTYPES[code], count


def _check_size(path: Path, size: int, stated: int, source: str) -> None:
    """Raise DataError where a file has not the size that `source` states."""
    if size == stated:
        return
    fault = "truncated" if size < stated else "too long"
    raise DataError(
        f"{path} is {fault}: {size:,} bytes where {source} says {stated:,}", REPLACE_PAIR
    )


def _size(path: Path) -> int:
    try:
        return data_file.check(path)
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist", "give the prefix that a .bin and an .idx share"
        ) from None


def _map(path: Path, dtype: np.dtype[_Scalar]) -> npt.NDArray[_Scalar]:
    """The file as one read-only array."""
    # an empty file cannot be mapped
    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, mode="r", dtype=dtype))
