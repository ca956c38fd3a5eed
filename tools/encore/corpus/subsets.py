"""Subsets of a corpus as files of their own: its first documents or its last, as jsonl.

Lines of jsonl inputs are kept byte for byte, so that a smaller head is a byte prefix of a larger one; rows of other
inputs become lines with the text alone.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import orjson

from encore import files
from encore.corpus.batches import Batches, Budget, head
from encore.errors import DataError, UsageError
from encore.threads import ahead

_CODECS = {".gz": "gzip", ".zst": "zstd"}
Encode = Callable[[list[bytes]], tuple[npt.ArrayLike, npt.ArrayLike]]
"""Texts (n,) → their ids, and how many each has (n,)."""


def samples(tokens: int, tokens_per_sample: float) -> int:
    """How many documents of that mean length hold so many tokens, rounded up.

    Source: huggingface/datablations README: C4 has 478.625834583 a sample, hence 3,969,698 samples for 1.9B tokens.
    """
    if not 0 < tokens_per_sample < math.inf:
        raise UsageError(
            f"{tokens_per_sample} tokens per sample cannot be", "give a positive number"
        )
    return math.ceil(tokens / tokens_per_sample)


def tail(open_stream: Callable[[], Batches], count: int) -> Batches:
    """The last `count` documents; reads the stream twice, so that none need be kept. Raises DataError if too few."""
    if count < 1:
        raise UsageError(f"the last {count} documents are nothing to take", "ask for at least 1")
    before = sum(len(batch.texts) for batch in open_stream()) - count
    if before < 0:
        raise DataError(
            f"the input has {before + count:,} documents, {count:,} were asked for", "ask for less"
        )
    for batch in open_stream():
        dropped = min(before, len(batch.texts))
        before -= dropped
        yield batch.rest(dropped)


def counted(open_stream: Callable[[], Batches], tokens: int, encode: Encode) -> Batches:
    """The first documents, up to and with the one that reaches so many tokens."""
    return head(
        ahead(open_stream()), Budget(tokens, "tokens"), lambda batch: encode(batch.texts)[1]
    )


def write(inputs: Iterable[str], target: Path, field: str, batches: Batches) -> dict[str, Any]:
    """Write documents as jsonl, .gz or .zst by the target's name; returns their number and what was left out."""
    if any(Path(name).exists() and target.exists() and target.samefile(name) for name in inputs):
        raise UsageError(f"{target} is an input and would be overwritten", "choose another output")
    documents, skipped = 0, Counter[str]()
    with (
        files.exclusive(target),
        files.atomic(target) as temporary,
        _opened(temporary, target.suffix) as out,
    ):
        for batch in batches:
            lines = batch.lines
            if lines is None:
                lines = [orjson.dumps({field: text.decode()}) for text in batch.texts]
            out.write(b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines))
            documents += len(lines)
            skipped.update(reason for _, reason in batch.skipped)
    return {"output": str(target), "documents": documents, "skipped": dict(skipped)}


@contextlib.contextmanager
def _opened(path: Path, suffix: str) -> Iterator[Any]:
    with open(path, "wb") as plain:
        if suffix not in _CODECS:
            yield plain
            return
        import pyarrow as pa

        with pa.CompressedOutputStream(
            pa.PythonFile(plain, mode="w"), _CODECS[suffix]
        ) as compressed:
            yield compressed
