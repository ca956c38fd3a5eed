"""Streams of documents: jsonl, jsonl.gz, jsonl.zst, parquet and Hugging Face datasets, in order, checked and counted.

A stream comes in batches of about a MB, so that memory does not grow with the input; only a single document is ever
held whole. What a file is, its first bytes say, not its name. Lines end as in Python's text files (LF, CRLF or CR);
blank ones are no documents. A stream's first documents are what the paper took with `head`: fewer are a prefix of more
(source: huggingface/datablations README, "Data").
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from encore import files
from encore.corpus.batches import Batch, Batches, Budget, InputDigest, head
from encore.errors import DataError

BLOCK_BYTES = 1 << 20
_ROWS = 512
_DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".gz", ".zst", ".parquet", ".txt")
_DATASET_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.-]+))?")


@dataclass(frozen=True)
class ReadOptions:
    """What is read of the inputs: the text's field, the split of a dataset, bad documents skipped or refused.

    `samples` and `bytes` (of text, in UTF-8) end it with the document that reaches them.
    """

    field: str = "text"
    split: str = "train"
    skip_bad: bool = False
    samples: int | None = None
    bytes: int | None = None


class _BadDocumentError(Exception):
    """Why one document cannot be used: the reason it is counted by, and what was found."""

    def __init__(self, reason: str, found: str = "") -> None:
        super().__init__(f"{reason}: {found}" if found else reason)
        self.reason = reason


def stream(inputs: Iterable[str], reading: ReadOptions) -> Batches:
    """The documents of all inputs, in order. Raises DataError, naming file and line, unless bad ones are skipped."""
    whole = (
        replace(batch, input_index=i)
        for i, name in enumerate(inputs)
        for batch in _open(name, reading)
    )
    by_samples = head(
        whole, Budget(reading.samples, "documents"), lambda batch: np.ones(len(batch.texts))
    )
    return head(
        by_samples,
        Budget(reading.bytes, "bytes"),
        lambda batch: [len(text) for text in batch.texts],
    )


_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


def _open(name: str, reading: ReadOptions) -> Batches:
    path = Path(name)
    if path.is_file():
        with open(path, "rb") as handle:
            begin = handle.read(4)
        if begin == b"PAR1":
            return _parquet(path, reading)
        codec = next((codec for magic, codec in _MAGIC.items() if begin.startswith(magic)), None)
        return _jsonl(path, codec, reading)
    match = _DATASET_NAME.fullmatch(name)
    if path.is_dir():
        return _dataset(name, None, reading)
    if match is None or name.endswith(_DATA_SUFFIXES):
        raise DataError(
            f"{name} is neither a file or folder nor a dataset's name", "check the path"
        )
    return _dataset(match["name"], match["config"], reading)


class _Hashed:
    """A file that hashes what is read of it; `closed` and `close` are what pyarrow asks of a file it does not own."""

    closed = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._digest = hashlib.sha256()
        self._bytes = 0

    def __enter__(self) -> "_Hashed":
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
        return InputDigest(str(self.path), size, self._bytes, self._digest.copy().hexdigest())


def _jsonl(path: Path, codec: str | None, reading: ReadOptions) -> Batches:
    with _Hashed(path) as raw:
        number = 1
        for block in _blocks(raw, codec):
            lines = block.splitlines(keepends=True)
            yield from _json_batches(lines, number, raw.source(), reading)
            number += len(lines)
        while raw.read(BLOCK_BYTES):
            pass
        yield Batch(raw.source(), [])  # an input without documents is told of as well


def _blocks(raw: _Hashed, codec: str | None) -> Iterator[bytes]:
    """The decompressed file in pieces that end with a line, the last one perhaps without its line end."""
    handle: Any = raw
    if codec:
        import pyarrow as pa

        handle = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec)
    rest: list[bytes] = []
    while chunk := _read(handle, raw.path):
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield b"".join([*rest, chunk[:cut]])
            rest = []
        rest.append(chunk[cut:])
    if any(rest):
        yield b"".join(rest)


def _read(handle: Any, path: Path) -> bytes:
    try:
        return handle.read(BLOCK_BYTES)
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(f"{path} is corrupt or truncated: {error}", "fetch it again") from None


def _json_batches(
    lines: list[bytes], first: int, source: InputDigest, reading: ReadOptions
) -> Batches:
    name = reading.field
    try:
        texts = [orjson.loads(line)[name].encode() for line in lines]
        good = all(texts)
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if good:
        yield Batch(source, texts, lines)
    else:
        numbered = ((number, line) for number, line in enumerate(lines, first) if line.strip())
        yield from _checked(numbered, lambda line: _text_of_line(line, name), source, reading, True)


def _checked(
    numbered: Iterable[tuple[int, Any]],
    text_of: Callable[[Any], bytes],
    source: InputDigest,
    reading: ReadOptions,
    are_lines: bool = False,
) -> Batches:
    """One batch, document by document: the bad ones left out and noted, or the good ones before the first bad one."""
    texts: list[bytes] = []
    lines: list[bytes] = []
    skipped: list[tuple[int, str]] = []
    for number, item in numbered:
        try:
            texts.append(text_of(item))
        except _BadDocumentError as bad:
            if not reading.skip_bad:
                yield Batch(source, texts, lines if are_lines else None)
                hint = "mend it, or leave such documents out with --on-error skip"
                raise DataError(f"{source.name}:{number}: {bad}", hint) from None
            skipped.append((len(texts), bad.reason))
        else:
            lines.append(item)
    yield Batch(source, texts, lines if are_lines else None, skipped)


def _text_of_line(line: bytes, name: str) -> bytes:
    try:
        record = json.loads(
            line.rstrip().decode()
        )  # what Megatron's tool reads with; it takes NaN, which orjson does not
    except UnicodeDecodeError as error:
        raise _BadDocumentError("invalid UTF-8", f"byte {error.start + 1} of the line") from None
    except json.JSONDecodeError as error:
        raise _BadDocumentError("broken JSON", f"{error.msg}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        raise _BadDocumentError("broken JSON", str(error)) from None
    if not isinstance(record, dict):
        raise _BadDocumentError("not a JSON object", type(record).__name__)
    if name not in record:
        raise _BadDocumentError(
            "missing field", f"{name!r} is not among {', '.join(map(repr, record)) or 'none'}"
        )
    return _text_of_value(record[name])


def _text_of_value(value: Any) -> bytes:
    if not isinstance(value, str | bytes):
        raise _BadDocumentError("field is not a string", type(value).__name__)
    if not value:
        raise _BadDocumentError("empty document")
    try:
        return value.encode() if isinstance(value, str) else value.decode().encode()
    except UnicodeError as error:
        raise _BadDocumentError("invalid UTF-8", str(error)) from None


def _parquet(path: Path, reading: ReadOptions) -> Batches:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = path.stat().st_size
    source = InputDigest(str(path), size, size, files.sha256(path))
    number = 1
    try:
        with pq.ParquetFile(path) as table:
            _check_field(reading.field, table.schema_arrow.names, path)
            if not table.num_row_groups:
                yield Batch(source, [])
            for rows in table.iter_batches(batch_size=_ROWS, columns=[reading.field]):
                column = rows.column(0)
                if pa.types.is_dictionary(column.type):
                    column = column.dictionary_decode()
                if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                    column = column.cast(
                        pa.large_binary()
                    )  # so that one bad text does not fail its whole batch
                yield from _checked(
                    enumerate(column.to_pylist(), number), _text_of_value, source, reading
                )
                number += len(rows)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is corrupt: {error}", "fetch it again") from None


def _dataset(name: str, config: str | None, reading: ReadOptions) -> Batches:
    """Rows of a dataset as the hub streams them. A dataset that is a script is refused by `datasets` itself."""
    import datasets

    datasets.disable_progress_bars()
    label = f"{name}:{config}" if config else name
    digest, hashed, number = hashlib.sha256(), 0, 1
    try:
        for rows in datasets.load_dataset(name, config, split=reading.split, streaming=True).iter(
            _ROWS
        ):
            _check_field(reading.field, list(rows), label)
            for batch in _checked(
                enumerate(rows[reading.field], number),
                _text_of_value,
                InputDigest(label, None, 0, ""),
                reading,
            ):
                for text in batch.texts:
                    digest.update(text)
                    hashed += len(text)
                yield replace(batch, source=InputDigest(label, None, hashed, digest.hexdigest()))
            number += len(rows[reading.field])
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"{label}: {str(error).splitlines()[0]}",
            "check the name, its configuration and --split",
        ) from None


def _check_field(name: str, fields: list[str], where: object) -> None:
    if name not in fields:
        raise DataError(
            f"{where} has no field {name!r}; it has {', '.join(fields)}", "name one with --field"
        )
