"""Subsets of a corpus as files of their own: its first documents or its last, as jsonl.

Lines of jsonl inputs are kept byte for byte, so that a smaller head is a byte prefix of a larger
one; rows of other inputs become lines that hold the text alone.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy.typing as npt
import orjson

from encore import files
from encore.corpus.batches import Batches, Budget, check_not_empty, head
from encore.corpus.inputs import sources
from encore.errors import DataError, UsageError
from encore.threads import ahead

_CODECS = {".gz": "gzip", ".zst": "zstd"}
CountTokens = Callable[[list[bytes]], npt.ArrayLike]
"""Texts (n,) → the number of tokens of each (n,)."""


def samples(tokens: int, tokens_per_sample: float) -> int:
    """How many documents of that mean length hold this many tokens, rounded up.

    Source: huggingface/datablations README: C4 has 478.625834583 tokens a sample, hence 3,969,698
    samples for 1.9B tokens. Raises UsageError.
    """
    if not 0 < tokens_per_sample < math.inf:
        raise UsageError(
            f"{tokens_per_sample} tokens per sample cannot be", "give a positive number"
        )
    return math.ceil(tokens / tokens_per_sample)


def tail(open_stream: Callable[[], Batches], count: int) -> Batches:
    """The last `count` documents; the stream is read twice, so that memory holds a batch at a time.

    Raises UsageError if `count` is below 1, DataError if there are too few.
    """
    if count < 1:
        raise UsageError(f"the last {count} documents cannot be taken", "ask for at least 1")
    total = sum(len(batch.texts) for batch in open_stream())
    check_not_empty(total, {})
    if total < count:
        raise DataError(
            f"the input has {total:,} documents, fewer than the {count:,} asked for",
            f"ask for at most {total:,}",
        )
    to_drop = total - count
    for batch in open_stream():
        dropped = min(to_drop, len(batch.texts))
        to_drop -= dropped
        yield batch.rest(dropped)


def head_of_tokens(batches: Batches, tokens: int, count_tokens: CountTokens) -> Batches:
    """The first documents, up to and including the one that reaches this many tokens.

    Raises UsageError if `tokens` is below 1, DataError if there are too few.
    """
    budget = Budget(tokens, "tokens")
    return head(ahead(batches), budget, lambda batch: count_tokens(batch.texts))


def write(inputs: Iterable[str], target: Path, field: str, batches: Batches) -> dict[str, Any]:
    """Write documents as jsonl, compressed if the target's name ends in .gz or .zst, atomically.

    Returns {output, documents, skipped: reason → count}. Raises UsageError, OutputError, DataError.
    """
    for source in sources(inputs):
        if target.exists() and isinstance(source, Path) and target.samefile(source):
            raise UsageError(
                f"{target} is an input and would be overwritten", "name another --output"
            )
    documents = 0
    skipped: Counter[str] = Counter()
    with (
        files.exclusive(target),
        files.atomic(target) as temporary,
        _open_output(temporary, target.suffix) as out,
    ):
        for batch in batches:
            lines = batch.lines
            if lines is None:
                lines = [orjson.dumps({field: text.decode()}) for text in batch.texts]
            out.write(b"".join(map(_with_line_feed, lines)))
            documents += len(lines)
            skipped.update(reason for _, reason in batch.skipped)
        check_not_empty(documents, skipped)
    return {"output": str(target), "documents": documents, "skipped": dict(skipped)}


def _with_line_feed(line: bytes) -> bytes:
    # The last line of an input may lack its end, and another input may follow; lines that end in a
    # bare CR would be one line to other tools.
    if line.endswith(b"\n"):
        return line
    return line + b"\n"


@contextlib.contextmanager
def _open_output(path: Path, suffix: str) -> Iterator[IO[bytes]]:
    with open(path, "wb") as plain:
        if suffix not in _CODECS:
            yield plain
            return
        import pyarrow as pa

        sink = pa.PythonFile(plain, mode="w")
        with pa.CompressedOutputStream(sink, _CODECS[suffix]) as compressed:
            yield compressed
