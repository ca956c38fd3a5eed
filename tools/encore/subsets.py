"""Subsets of a corpus as files of their own: its first documents or its last, as jsonl.

`write_lines` keeps the lines of jsonl inputs byte for byte, so that a smaller head is a byte prefix of a
larger one; rows of other inputs become lines with the text alone.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from encore import files
from encore.documents import Batch
from encore.errors import DataError

_CODECS = {".gz": "gzip", ".zst": "zstd"}


def tail(open_stream: Callable[[], Iterator[Batch]], count: int) -> Iterator[Batch]:
    """The last `count` documents; reads the stream twice, so that none need be kept."""
    before = sum(len(batch.texts) for batch in open_stream()) - count
    if before < 0:
        raise DataError(f"the input has {before + count:,} documents, {count:,} were asked for", "ask for less")
    for batch in open_stream():
        dropped = min(before, len(batch.texts))
        before -= dropped
        yield batch.rest(dropped)


def write_lines(batches: Iterator[Batch], target: Path, field_name: str) -> int:
    """Write documents as jsonl, .gz or .zst by the name, and return how many; lines are kept byte for byte."""
    count = 0
    with files.exclusive(target), files.atomic(target) as temporary, _writing(temporary, target.suffix) as out:
        for batch in batches:
            lines = batch.lines
            if lines is None:
                lines = [orjson.dumps({field_name: text.decode()}) for text in batch.texts]
            out.write(b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines))
            count += len(lines)
    return count


def _writing(path: Path, suffix: str) -> Any:
    if suffix not in (".gz", ".zst"):
        return open(path, "wb")
    import pyarrow as pa

    return pa.CompressedOutputStream(pa.PythonFile(open(path, "wb"), mode="w"), _CODECS[suffix])
