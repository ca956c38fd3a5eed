"""Megatron's indexed token datasets: `PREFIX.bin` holds token ids, `PREFIX.idx` says where each document lies.

The .idx (little-endian): magic `MMIDIDX\\0\\0`, version 1 (u64), dtype code (u8), number of sequences n (u64), length d
of the document index (u64); then sizes int32[n] in tokens, pointers int64[n] in bytes, doc_idx int64[d]. Here a
sequence is a document, as Megatron writes it without --split-sentences, so doc_idx is 0..n. Every fork that the kit
trains with reads this form (source: TurkuNLP 6732bc9 megatron/data/indexed_dataset.py, MMapIndexedDataset).
"""

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from encore import files
from encore.errors import DataError

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_VERSION = 1
# The codes of token ids; 6 and 7 are floating point, and which is which differs between forks.
_DTYPES = {
    code: np.dtype(kind)
    for code, kind in {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}.items()
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_UINT16_BELOW_VOCABULARY = 65500
_INDEX_CHUNK = 1 << 18
_INT32_MAX = np.iinfo(np.int32).max
_AGAIN = "write the pair again"

Tokens = npt.NDArray[np.integer]


def smallest_dtype(vocabulary_size: int) -> np.dtype:
    """The dtype Megatron stores ids of such a vocabulary in: uint16 below 65,500 entries, else int32.

    Its preprocess_data.py asks with the tokenizer's own size, before padding; preprocess_data_many_cores.py asks with
    the padded size, so that the two differ from 65,409 to 65,499 entries. The kit follows the first.
    Source: TurkuNLP 6732bc9 megatron/data/indexed_dataset.py best_fitting_dtype; the other forks agree.
    """
    return np.dtype("<u2" if vocabulary_size < _UINT16_BELOW_VOCABULARY else "<i4")


def bin_path(prefix: str | os.PathLike[str]) -> Path:
    """Where the token ids of `prefix` lie."""
    return Path(f"{os.fspath(prefix)}.bin")


def idx_path(prefix: str | os.PathLike[str]) -> Path:
    """Where the index of `prefix` lies."""
    return Path(f"{os.fspath(prefix)}.idx")


class Index:
    """A memory-mapped, read-only .idx; raises DataError when it is not whole.

    sizes: int32 (n,), tokens per document. pointers: int64 (n,), byte offset of each. doc_idx: int64 (d,), first
    sequence of each document, then n.
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
        """How many documents there are, which may be of several sequences each."""
        return len(self.doc_idx) - 1

    @property
    def token_count(self) -> int:
        """How many tokens all sequences have; summed in int64, for int32 wraps at 2.1B."""
        return int(np.sum(self.sizes, dtype=np.int64))

    @property
    def bin_bytes(self) -> int:
        """How many bytes the .bin has to have."""
        return (
            int(self.pointers[-1]) + int(self.sizes[-1]) * self.dtype.itemsize if len(self) else 0
        )

    def problem(self) -> str | None:
        """The first thing in it that cannot be right, None when documents lie end to end in the .bin and nothing else.

        A reader opens such an index all the same, for each entry is looked at only when its document is.
        """
        first = 0
        for told in _pointers(_chunks([self]), self.dtype.itemsize):
            sizes, pointers = (
                self.sizes[first : first + len(told)],
                self.pointers[first : first + len(told)],
            )
            if (sizes < 0).any():
                at = int((sizes < 0).argmax())
                return f"sequence {first + at:,} has {int(sizes[at]):,} tokens"
            if (pointers != told).any():
                at = int((pointers != told).argmax())
                return f"sequence {first + at:,} begins at byte {int(pointers[at]):,} instead of {int(told[at]):,}"
            first += len(told)
        ends = self.doc_idx
        if not len(ends) or ends[0] != 0 or ends[-1] != len(self):
            return f"its document index does not run from 0 to {len(self):,}"
        back = ends[1:] < ends[:-1]
        return f"document {int(back.argmax()):,} ends before it begins" if back.any() else None


class IndexedDataset(Index):
    """A memory-mapped, read-only .bin/.idx pair; raises DataError when the two are not whole and consistent.

    tokens: (total,) of `dtype`, the whole .bin.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        super().__init__(prefix)
        self.tokens = self._map_tokens()

    def _map_tokens(self) -> Tokens:
        path = bin_path(self.prefix)
        found, told = _size(path), self.bin_bytes
        if found != told:
            what = "truncated" if found < told else "too long"
            raise DataError(
                f"{path} is {what}: {found:,} bytes where its .idx says {told:,}", _AGAIN
            )
        return _map(path, self.dtype)

    def __reduce__(self) -> tuple[type["IndexedDataset"], tuple[str]]:
        return IndexedDataset, (self.prefix,)  # a worker process maps the files itself

    def get(self, i: int, offset: int = 0, length: int | None = None) -> Tokens:
        """A view of document `i`, from its token `offset` on, `length` tokens or to its end."""
        size = int(self.sizes[i])
        stop = size if length is None else offset + length
        if not 0 <= offset <= stop <= size:
            raise IndexError(f"tokens {offset}:{stop} of document {i}, which has {size}")
        first = int(self.pointers[i]) // self.dtype.itemsize
        return self.tokens[first + offset : first + stop]


class IndexedWriter:
    """Streams documents into PREFIX.bin/.idx; both appear, the .idx last, only if the `with` block succeeds.

    Memory does not grow with the number of documents: sizes go straight to the temporary .idx, and pointers are
    derived from them at the end. `documents` and `tokens` count what was added.
    """

    def __init__(self, prefix: str | os.PathLike[str], dtype: npt.DTypeLike) -> None:
        self.prefix = os.fspath(prefix)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.documents = 0
        self.tokens = 0
        self._digest = hashlib.sha256()
        self._code = _CODES[self.dtype]
        self._whole = self._files()

    def __enter__(self) -> "IndexedWriter":
        self._whole.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._whole.__exit__(kind, error, trace)

    @contextlib.contextmanager
    def _files(self) -> Iterator[None]:
        with (
            new_pair(self.prefix) as (tokens, idx),
            open(idx, "w+b") as self._idx,
            open(tokens, "wb") as self._bin,
        ):
            self._idx.write(bytes(_HEADER.size))
            yield
            self._finish_index()

    @property
    def bin_sha256(self) -> str:
        """The digest of what was added so far, which in the end is the .bin's."""
        return self._digest.hexdigest()

    def add(self, token_ids: npt.ArrayLike) -> None:
        """Append one document."""
        flat = np.asarray(token_ids)
        self.add_batch(flat, np.array([flat.size]))

    def add_batch(self, flat_tokens: npt.ArrayLike, lengths: npt.ArrayLike) -> None:
        """Append documents that lie end to end in `flat_tokens` (total,), of `lengths` (n,) tokens each.

        That the ids fit the dtype is the caller's to know: they are cast unchecked.
        """
        sizes = np.asarray(lengths, dtype=np.int64)
        if sizes.size and int(sizes.max()) > _INT32_MAX:
            raise DataError(
                f"a document has {int(sizes.max()):,} tokens; an .idx holds at most {_INT32_MAX:,}"
            )
        flat = np.ascontiguousarray(flat_tokens, dtype=self.dtype)
        if int(sizes.sum()) != flat.size:
            raise ValueError(f"lengths add up to {int(sizes.sum())}, there are {flat.size} tokens")
        self._bin.write(flat.data)
        self._digest.update(flat.data)
        self._idx.write(sizes.astype("<i4").data)
        self.documents += sizes.size
        self.tokens += flat.size

    def _finish_index(self) -> None:
        """After the sizes: the pointers, the document index, and last the header that counts them."""
        first = 0
        for pointers in _pointers(self._sizes(), self.dtype.itemsize):
            self._idx.seek(_HEADER.size + 4 * self.documents + 8 * first)
            self._idx.write(pointers.data)
            first += len(pointers)
        self._idx.seek(_HEADER.size + 12 * self.documents)
        for first in range(0, self.documents + 1, _INDEX_CHUNK):
            self._idx.write(
                np.arange(first, min(first + _INDEX_CHUNK, self.documents + 1), dtype="<i8").data
            )
        self._idx.seek(0)
        self._idx.write(
            _HEADER.pack(_MAGIC, _VERSION, self._code, self.documents, self.documents + 1)
        )

    def _sizes(self) -> Iterator[npt.NDArray[np.int32]]:
        """What the temporary .idx holds already, in chunks."""
        for first in range(0, self.documents, _INDEX_CHUNK):
            self._idx.seek(_HEADER.size + 4 * first)
            yield np.frombuffer(
                self._idx.read(4 * min(_INDEX_CHUNK, self.documents - first)), dtype="<i4"
            )


@contextlib.contextmanager
def new_pair(prefix: str | os.PathLike[str]) -> Iterator[tuple[Path, Path]]:
    """Temporary paths for a .bin and its .idx; both get their names, the .idx last, only if the block succeeds."""
    idx, tokens = idx_path(prefix), bin_path(prefix)
    with files.atomic(idx) as idx_temporary, files.atomic(tokens) as bin_temporary:
        yield bin_temporary, idx_temporary
        files.fsync(idx_temporary)
        files.fsync(bin_temporary)
        idx.unlink(missing_ok=True)  # an older run's index must never meet the new tokens


def write_index(path: Path, indices: Sequence[Index]) -> None:
    """Write the .idx of a .bin in which those of `indices`, one or more and of one dtype, lie end to end."""
    dtype, sequences = indices[0].dtype, sum(map(len, indices))
    documents = sum(len(index.doc_idx) - 1 for index in indices) + 1
    with open(path, "wb") as out:
        out.write(_HEADER.pack(_MAGIC, _VERSION, _CODES[dtype], sequences, documents))
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
    """The byte offset of each sequence; in int64, unlike Megatron-LM's merge (its issue 1672), so that none wraps."""
    start = 0
    for some in sizes:
        lengths = some.astype("<i8") * itemsize
        ends = start + np.cumsum(lengths, dtype="<i8")
        yield ends - lengths
        start = int(ends[-1])


def _read_header(path: Path) -> tuple[np.dtype, int]:
    """dtype and number of sequences, checked against the file's own size."""
    found = _size(path)
    with open(path, "rb") as handle:
        head = handle.read(_HEADER.size)
    if not head.startswith(_MAGIC):
        raise DataError(
            f"{path} is not a Megatron .idx: it does not begin with MMIDIDX", "check the path"
        )
    if len(head) < _HEADER.size:
        raise DataError(
            f"{path} is truncated: {found} bytes, its header alone has {_HEADER.size}", _AGAIN
        )
    _, version, code, count, documents = _HEADER.unpack(head)
    if version != _VERSION:
        raise DataError(f"{path} has version {version}; this reader knows version {_VERSION}")
    if code not in _DTYPES:
        known = ", ".join(f"{code} {dtype.name}" for code, dtype in _DTYPES.items())
        raise DataError(f"{path} has dtype code {code}, which is none of token ids ({known})")
    told = _HEADER.size + 12 * count + 8 * documents
    if found != told:
        what = "truncated" if found < told else "too long"
        raise DataError(f"{path} is {what}: {found:,} bytes where its header says {told:,}", _AGAIN)
    return _DTYPES[code], count


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist", "give the prefix that a .bin and an .idx share"
        ) from None


def _map(path: Path, dtype: np.dtype) -> npt.NDArray[np.generic]:
    """The file as one read-only array; an empty file cannot be mapped."""
    if not path.stat().st_size:
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, mode="r", dtype=dtype))
