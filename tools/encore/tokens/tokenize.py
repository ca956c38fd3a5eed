"""Documents to Megatron's .bin/.idx, byte for byte as its tools/preprocess_data.py, and a manifest.

A document without tokens is dropped; the end-of-document id follows what the tokenizer's own
template adds. deepspeedai 4efb479 is not followed: it writes that id into the .bin but leaves it
out of the sizes, so that its own .idx does not fit.
Source: TurkuNLP 6732bc9 tools/preprocess_data.py.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass

from encore import __version__, files
from encore.corpus.batches import Batch, Batches, Budget, InputDigest, check_not_empty
from encore.errors import UsageError
from encore.threads import ahead, mapped
from encore.tokens.encoders import Encode, Encoded, with_fastest_encoder
from encore.tokens.indexed import IndexedWriter, bin_path, idx_path
from encore.tokens.manifest import Manifest
from encore.tokens.tokenizer import Tokenizer

# One thread reads JSON about as fast as this many encode.
_MOST_USEFUL_THREADS = 4


@dataclass(frozen=True)
class TokenizeRequest:
    """What to write: PREFIX_FIELD_document.bin, .idx and .json.

    tokens: stop with the document that reaches this many, None: no limit. exact: cut that document
    so that there are exactly as many. workers: encoding threads, None: by the number of cores.
    """

    prefix: str
    field: str = "text"
    append_eod: bool = False
    tokens: int | None = None
    exact: bool = False
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.exact and self.tokens is None:
            raise UsageError("--exact-tokens needs a number of tokens to stop at", "add --tokens N")

    @property
    def target(self) -> str:
        """The prefix that the three files share, as Megatron names it."""
        return f"{self.prefix}_{self.field}_document"


def write(
    open_stream: Callable[[], Batches], tokenizer: Tokenizer, request: TokenizeRequest
) -> Manifest:
    """Write the .bin, the .idx and, last, the manifest, which is returned.

    open_stream: called for each attempt to encode, see `with_fastest_encoder`. Raises DataError for
    unusable input, OutputError where another run writes the same files.
    """
    if request.workers:
        # tokenizers, in Rust, has threads of its own
        os.environ["RAYON_NUM_THREADS"] = str(request.workers)

    def write_with(encode: Encode) -> Manifest:
        return _write(open_stream(), encode, tokenizer, request)

    with files.exclusive(bin_path(request.target)):
        return with_fastest_encoder(tokenizer, request.append_eod, write_with)


def _write(
    stream: Batches, encode: Encode, tokenizer: Tokenizer, request: TokenizeRequest
) -> Manifest:
    budget = Budget(request.tokens, "tokens")
    inputs: dict[int, InputDigest] = {}
    skipped: Counter[str] = Counter()

    def encode_batch(batch: Batch) -> tuple[Batch, Encoded]:
        return batch, encode(batch.texts)

    encoded = mapped(encode_batch, ahead(stream), _threads(request.workers))
    with IndexedWriter(request.target, tokenizer.dtype) as writer, contextlib.closing(encoded):
        for batch, (ids, lengths) in encoded:
            count = budget.take(lengths)
            if budget.reached:
                batch = batch.first(count)
                lengths = lengths[:count]
                if request.exact:
                    # `remaining` is negative by as much as the last document exceeds the budget
                    lengths[-1] += budget.remaining
            writer.add_batch(ids[: lengths.sum()], lengths[lengths > 0])
            # each batch brings a later digest of its input; the last one counts
            inputs[batch.input_index] = batch.source
            for _, reason in batch.skipped:
                skipped[reason] += 1
            skipped["no tokens"] += int((lengths == 0).sum())
            if budget.reached:
                break
        budget.check()
        check_not_empty(writer.documents, skipped)
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
        inputs=list(map(asdict, inputs.values())),
        # unary plus drops the reasons that no document had
        skipped=dict(+skipped),
        sha256={
            bin_path(request.target).name: writer.bin_sha256,
            idx_path(request.target).name: files.sha256(idx_path(request.target)),
        },
    )
    manifest.write(request.target)
    return manifest


def _threads(workers: int | None) -> int:
    """How many threads encode: `workers`, by default one for each core but the reader's."""
    if workers is None:
        workers = _cores() - 1
    return max(1, min(workers, _MOST_USEFUL_THREADS))


def _cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
