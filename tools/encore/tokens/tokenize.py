"""Documents to Megatron's .bin/.idx: byte for byte what its tools/preprocess_data.py writes, and a manifest.

gigatoken encodes where it can. Its ids are compared with those of `tokenizers` on text of the run before any is
written and then throughout; if they ever differ, the work starts over with `tokenizers` alone.

Source of what is written: TurkuNLP 6732bc9 tools/preprocess_data.py. A document without tokens is dropped; the
end-of-document id follows what the tokenizer's own template adds. (deepspeedai 4efb479 writes that id into the .bin
but leaves it out of the sizes, so that its own .idx does not fit: that is not followed.)
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass

from encore import __version__, files
from encore.corpus.batches import Batches, Budget, InputDigest
from encore.errors import UsageError
from encore.threads import ahead, mapped
from encore.tokens.encoders import Encode, encoding
from encore.tokens.indexed import IndexedWriter, bin_path, idx_path
from encore.tokens.manifest import Manifest
from encore.tokens.tokenizer import Tokenizer

_MOST_USEFUL_THREADS = 4  # one thread reads JSON about as fast as these encode


def _threads(asked: int | None) -> int:
    """How many threads to encode with: as asked or all cores but the reader's, and no more than are of use."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(asked or cores - 1, _MOST_USEFUL_THREADS))


@dataclass(frozen=True)
class TokenizeRequest:
    """What to write: PREFIX_FIELD_document.bin/.idx/.json, up to `tokens` ids, if `exact` to the very token."""

    prefix: str
    field: str = "text"
    append_eod: bool = False
    tokens: int | None = None
    exact: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.exact and self.tokens is None:
            raise UsageError(
                "--exact-tokens stops at a number of tokens", "give --tokens N with it"
            )

    @property
    def target(self) -> str:
        """The prefix that the three files share, as Megatron names it."""
        return f"{self.prefix}_{self.field}_document"


def write(
    open_stream: Callable[[], Batches],
    tokenizer: Tokenizer,
    request: TokenizeRequest,
    warn: Callable[[str], None],
) -> Manifest:
    """Write the request's .bin and .idx, last its manifest, which is returned. Raises DataError, OutputError."""
    if request.workers:
        os.environ["RAYON_NUM_THREADS"] = str(request.workers)  # tokenizers has threads of its own
    with files.exclusive(bin_path(request.target)):
        return encoding(
            tokenizer,
            request.append_eod,
            warn,
            lambda encode: _write(open_stream(), encode, tokenizer, request),
        )


def _write(
    stream: Batches, encode: Encode, tokenizer: Tokenizer, request: TokenizeRequest
) -> Manifest:
    budget = Budget(request.tokens, "tokens")
    sources: dict[int, InputDigest] = {}
    skipped: Counter[str] = Counter()
    encoded = mapped(
        lambda batch: (batch, *encode(batch.texts)), ahead(stream), _threads(request.workers)
    )
    with IndexedWriter(request.target, tokenizer.dtype) as writer, contextlib.closing(encoded):
        for batch, ids, lengths in encoded:
            count = budget.take(lengths)
            if budget.reached:
                batch, lengths = batch.first(count), lengths[:count]
                if request.exact:
                    lengths[-1] += budget.remaining
            writer.add_batch(ids[: lengths.sum()], lengths[lengths > 0])
            sources[batch.input_index] = batch.source
            skipped.update(reason for _, reason in batch.skipped)
            skipped["no tokens"] += int((lengths == 0).sum())
            if budget.reached:
                break
        budget.check()
        # An older manifest must go before the `with` block ends and gives the new pair its names.
        Manifest.remove(request.target)
    manifest = Manifest(
        kit=f"encore {__version__}",
        documents=writer.documents,
        tokens=writer.tokens,
        dtype=writer.dtype.name,
        append_eod=request.append_eod,
        encoder=encode.version,
        tokenizer=tokenizer.describe(),
        inputs=[asdict(source) for source in sources.values()],
        skipped=dict(+skipped),
        sha256={
            bin_path(request.target).name: writer.bin_sha256,
            idx_path(request.target).name: files.sha256(idx_path(request.target)),
        },
    )
    manifest.write(request.target)
    return manifest
