"""Streams of documents: jsonl, jsonl.gz, jsonl.zst, parquet and Hugging Face datasets, in order.

Documents come in batches of about a MB, so that memory does not grow with the input; at most one
document is held whole. Lines end as in Python's text files (LF, CRLF or CR); blank lines are
ignored, and so is a byte order mark. The first documents of a stream are what the paper took with
`head`: fewer are a prefix of more (source: huggingface/datablations README, "Data").
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from encore import files, hub_library
from encore.corpus import formats
from encore.corpus.batches import Batch, Batches, Budget, InputDigest, head
from encore.corpus.inputs import DatasetName, sources
from encore.errors import DataError, HubUnreachableError, UsageError

BLOCK_BYTES = 1 << 20
# of a table at a time; web pages and source files are a few kB each, so that these are about a MB
_ROWS = 512
# the reasons for which a line is no JSON object at all
_NO_OBJECT = {"broken JSON", "invalid UTF-8", "not a JSON object"}
_MOST_BLANK_BYTES = 1 << 20
_MOST_FIELDS_SHOWN = 10
# what pyarrow says of a frame whose window is larger than zstd's own limit, 128 MiB
_WINDOW_TOO_LARGE = "too much memory for decoding"


@dataclass(frozen=True)
class ReadOptions:
    """What to read of the inputs.

    field: the key of the text in a document. split: of a dataset; None: train. skip_bad: leave out
    documents that cannot be used instead of refusing the input. samples, bytes (of text, in UTF-8):
    stop with the document that reaches them.
    """

    field: str = "text"
    split: str | None = None
    skip_bad: bool = False
    samples: int | None = None
    bytes: int | None = None


class _BadDocumentError(Exception):
    """Why one document cannot be used: the reason it is counted under, and details."""

    def __init__(self, reason: str, detail: str = "") -> None:
        message = reason
        if detail:
            message = f"{reason}: {detail}"
        super().__init__(message)
        self.reason = reason


def stream(inputs: Iterable[str], options: ReadOptions) -> Batches:
    """The documents of all inputs, in order.

    Raises DataError where an input cannot be read, and, unless bad documents are skipped, for the
    first bad one, with file and line.
    """
    # Both limits may be given; the tighter one ends the stream.
    by_samples = head(
        _all_documents(inputs, options),
        Budget(options.samples, "documents"),
        lambda batch: np.ones(len(batch.texts)),
    )
    return head(
        by_samples,
        Budget(options.bytes, "bytes"),
        lambda batch: [len(text) for text in batch.texts],
    )


def _all_documents(inputs: Iterable[str], options: ReadOptions) -> Batches:
    all_sources = sources(inputs)
    datasets = [source for source in all_sources if isinstance(source, DatasetName)]
    if options.split is not None and not datasets:
        raise UsageError(
            f"--split {options.split} is for datasets of the Hub, and no input is one",
            "name the files of that split",
        )
    for source in all_sources:
        # of all, before hours are spent on the first
        if isinstance(source, Path):
            formats.recognise(source)
    for i, source in enumerate(all_sources):
        with contextlib.closing(_open(source, options)) as batches:
            for batch in batches:
                yield replace(batch, input_index=i)


def _open(source: Path | DatasetName, options: ReadOptions) -> Batches:
    if isinstance(source, DatasetName):
        return _dataset(source, options)
    kind = formats.recognise(source)
    if kind == formats.PARQUET:
        return _parquet(source, options)
    codec = kind if kind in formats.CODECS else None
    return _jsonl(source, codec, options)


class _HashingReader:
    """A file that hashes what is read of it."""

    # pyarrow asks a file object for `closed` and calls `close`, but it does not own this one.
    closed = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._digest = hashlib.sha256()
        self._bytes = 0

    def __enter__(self) -> "_HashingReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def close(self) -> None:
        pass

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        self._bytes += len(data)
        return data

    def source(self) -> InputDigest:
        size = os.fstat(self._file.fileno()).st_size
        return InputDigest(str(self.path), size, self._bytes, self._digest.hexdigest())


def _jsonl(path: Path, codec: str | None, options: ReadOptions) -> Batches:
    with _HashingReader(path) as raw:
        number = 1
        objects = 0
        others = 0
        for block in _line_blocks(raw, codec):
            lines = block.splitlines(keepends=True)
            for batch in _json_batches(lines, number, raw.source(), options):
                objects += len(batch.texts)
                for _, reason in batch.skipped:
                    if reason in _NO_OBJECT:
                        others += 1
                    else:
                        objects += 1
                yield batch
            number += len(lines)
        if others and not objects:
            raise DataError(
                f"{path} holds no document: none of its {others:,} lines is a JSON object",
                f"write one object a line: jq -c . {shlex.quote(str(path))}",
            )
        # A decompressor may stop before the end of the file; the digest is to cover all of it.
        while raw.read(BLOCK_BYTES):
            pass
        # The final digest, also of an input without documents, reaches the manifest with this one.
        yield Batch(raw.source(), [])


def _line_blocks(raw: _HashingReader, codec: str | None) -> Iterator[bytes]:
    """The decompressed file in blocks of whole lines; the last one may lack its line end."""
    handle: Any = raw
    if codec is not None:
        import pyarrow as pa

        handle = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
    beginning = _beginning(handle, raw.path)
    formats.check_text(beginning, raw.path, codec)
    chunks = iter(functools.partial(_read_block, handle, raw.path), b"")
    # Chunks of an unfinished line: joined once, since adding up a long line would be quadratic.
    pending: list[bytes] = []
    for chunk in itertools.chain([beginning.removeprefix(formats.BYTE_ORDER_MARK)], chunks):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join([*pending, chunk[:cut]])
            pending = []
        pending.append(chunk[cut:])
    if any(pending):
        yield b"".join(pending)


def _beginning(handle: Any, path: Path) -> bytes:
    """The first bytes, enough of them to tell what they are, or all that there are."""
    beginning = b""
    while len(beginning.lstrip()) < formats.BEGINNING_BYTES and len(beginning) < _MOST_BLANK_BYTES:
        chunk = _read_block(handle, path)
        if not chunk:
            break
        beginning += chunk
    return beginning


def _read_block(handle: Any, path: Path) -> bytes:
    try:
        block: bytes = handle.read(BLOCK_BYTES)
    except OSError as error:
        # pyarrow reports corrupt data as an OSError without a number; the system's have one.
        if error.errno is not None:
            raise
        if _WINDOW_TOO_LARGE in str(error):
            raise DataError(
                f"{path} was compressed with a window of more than 128 MiB",
                f"decompress it first: zstd -d --long=31 {shlex.quote(str(path))}",
            ) from None
        raise DataError(
            f"{path} is corrupt or truncated: {error}", "download or copy it again"
        ) from None
    return block


def _json_batches(
    lines: list[bytes], first_number: int, source: InputDigest, options: ReadOptions
) -> Batches:
    # orjson reads a whole block about as fast as this loop can be; only a block that it cannot
    # read, or in which a text is missing or empty, is looked at line by line.
    try:
        texts = [orjson.loads(line)[options.field].encode() for line in lines]
    except (ValueError, KeyError, TypeError, AttributeError):
        texts = []
    if texts and all(texts):
        yield Batch(source, texts, lines)
        return
    numbered = []
    for number, line in enumerate(lines, first_number):
        if line.strip():
            numbered.append((number, line))
    yield from _checked(
        numbered,
        lambda line: _text_of_line(line, options.field),
        source,
        options,
        keep_lines=True,
    )


def _checked(
    numbered: Iterable[tuple[int, Any]],
    text_of: Callable[[Any], bytes],
    source: InputDigest,
    options: ReadOptions,
    keep_lines: bool = False,
) -> Batches:
    """One batch, document by document, without the bad ones.

    Unless bad documents are skipped, yields those before the first bad one, then raises DataError:
    a reader that needs no more of them never meets the bad one.
    """
    texts: list[bytes] = []
    lines: list[bytes] | None = None
    if keep_lines:
        lines = []
    skipped: list[tuple[int, str]] = []
    for number, item in numbered:
        try:
            text = text_of(item)
        except _BadDocumentError as bad:
            if not options.skip_bad:
                yield Batch(source, texts, lines)
                raise DataError(
                    f"{source.name}:{number}: {bad}",
                    "fix it, or leave such documents out with --on-error skip",
                ) from None
            skipped.append((len(texts), bad.reason))
            continue
        texts.append(text)
        if lines is not None:
            lines.append(item)
    yield Batch(source, texts, lines, skipped)


def _text_of_line(line: bytes, field: str) -> bytes:
    # The json module is what Megatron's tool reads with; it accepts NaN, which orjson does not.
    try:
        record = json.loads(line.rstrip().decode())
    except UnicodeDecodeError as error:
        raise _BadDocumentError("invalid UTF-8", f"byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise _BadDocumentError("broken JSON", f"{error.msg}, column {error.colno}") from None
    # Python refuses integers of more than 4,300 digits with a ValueError.
    except (ValueError, RecursionError) as error:
        raise _BadDocumentError("broken JSON", str(error)) from None
    if not isinstance(record, dict):
        raise _BadDocumentError("not a JSON object", type(record).__name__)
    if field not in record:
        fields = ", ".join(map(repr, list(record)[:_MOST_FIELDS_SHOWN])) or "none"
        if len(record) > _MOST_FIELDS_SHOWN:
            fields += f", … ({len(record):,} in all)"
        raise _BadDocumentError("missing field", f"{field!r} is not among {fields}")
    return _text_of_value(record[field])


def _text_of_value(value: Any) -> bytes:
    if not isinstance(value, str | bytes):
        raise _BadDocumentError("field is not a string", type(value).__name__)
    if not value:
        raise _BadDocumentError("empty document")
    try:
        if isinstance(value, str):
            return value.encode()
        value.decode()
    except UnicodeError as error:
        raise _BadDocumentError("invalid UTF-8", str(error)) from None
    return bytes(value)


def _parquet(path: Path, options: ReadOptions) -> Batches:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Columns are read from all over the file, so that it is hashed as a whole, beforehand.
    size = path.stat().st_size
    source = InputDigest(str(path), size, size, files.sha256(path))
    number = 1
    try:
        with pq.ParquetFile(path) as table:
            _check_field(options.field, table.schema_arrow.names, str(path))
            if not table.num_row_groups:
                yield Batch(source, [])
            for rows in table.iter_batches(batch_size=_ROWS, columns=[options.field]):
                column = rows.column(0)
                if pa.types.is_dictionary(column.type):
                    column = column.dictionary_decode()
                # As bytes, so that one text of invalid UTF-8 does not fail its whole batch.
                if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                    column = column.cast(pa.large_binary())
                numbered = enumerate(column.to_pylist(), number)
                yield from _checked(numbered, _text_of_value, source, options)
                number += len(rows)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is corrupt: {error}", "download or copy it again") from None


def _dataset(dataset: DatasetName, options: ReadOptions) -> Batches:
    """Rows of a dataset of the Hub, streamed.

    A dataset that is a script is refused by `datasets` itself (from version 4 on).
    """
    # `datasets` would try for half a minute; without the Hub it can still read its cache
    if not hub_library.is_offline() and not hub_library.is_reachable():
        raise HubUnreachableError(
            f"{dataset} is neither a file or folder here, and {hub_library.endpoint()} does not"
            " answer, which may have a dataset of that name",
            "check the path and the network; to read a cached dataset, set HF_HUB_OFFLINE=1",
        )
    import datasets
    import pyarrow as pa

    datasets.disable_progress_bars()
    label = str(dataset)
    digest = hashlib.sha256()
    hashed_bytes = 0
    number = 1
    try:
        table = datasets.load_dataset(
            dataset.name, dataset.config, split=options.split or "train", streaming=True
        )
        for rows in table.iter(_ROWS):
            _check_field(options.field, list(rows), label)
            numbered = enumerate(rows[options.field], number)
            source = InputDigest(label, None, 0, "")
            for batch in _checked(numbered, _text_of_value, source, options):
                for text in batch.texts:
                    digest.update(text)
                    hashed_bytes += len(text)
                source = InputDigest(label, None, hashed_bytes, digest.hexdigest())
                yield replace(batch, source=source)
            number += len(rows[options.field])
    except (
        OSError,
        ValueError,
        RuntimeError,
        pa.ArrowException,
        datasets.exceptions.DatasetsError,
        hub_library.library().errors.HTTPError,
    ) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{label} is no file or folder here, and cannot be read as a dataset: {reason}",
            f"its configurations and splits: {hub_library.endpoint()}/datasets/{dataset.name}"
            " (gated ones need: hf auth login)",
        ) from None


def _check_field(field: str, fields: list[str], where: str) -> None:
    if field not in fields:
        raise DataError(
            f"{where} has no field {field!r}; it has {', '.join(fields)}", "name one with --field"
        )
