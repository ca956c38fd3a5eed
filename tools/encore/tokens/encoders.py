"""Texts to token ids, with the fastest encoder that gives the reference's ids.

gigatoken encodes where it can. Its ids are compared with those of `tokenizers`, the reference, on
probes and on text of the run before any is returned, and on samples throughout; when they differ,
the work starts over with `tokenizers` alone.
"""

import importlib.metadata
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import tokenizers

from encore.errors import DataError
from encore.tokens.tokenizer import MEND, Tokenizer, first_line, is_library_error, library_errors

# Samples that are compared with the reference: the beginnings of documents, at most this long each.
_SAMPLE_BYTES = 2 << 10
# This many are compared before the first batch, and one in each eighth batch of a thread after it.
_FIRST_SAMPLES = 64
_BATCHES_PER_SAMPLE = 8
# A gigatoken backend keeps every word it has met, about 100 bytes each; a new one starts empty.
_RENEWED_AFTER_BYTES = 256 << 20
# An Encoding of `tokenizers` needs a hundred times the memory of its ids, so that few are held.
_REFERENCE_DOCUMENTS = 64
# What encoders differ on: blanks, contractions, digits, normal forms, bidi marks, long runs.
_PROBES = (
    "\r\n\r\n\ttabs  and   runs of    blanks \n",
    "can't we've I'LL 1234567890 3.14e-10 ½²³ Ⅻ",
    "Ünïcödé e\u0301 \u200d\u202e\ufeff ﷺ ١٢٣ 你好，世界 こんにちは 한국어 हिन्दी",
    "👩‍👩‍👧‍👦🏳️‍🌈 \x00\x01\x7f\x85\xa0\u2028\u2029\U0010ffff",
    "a" * 300 + " " * 300 + "=" * 300,
    "<|endoftext|>",
)

T = TypeVar("T")
Ids = npt.NDArray[np.integer]
Encoded = tuple[Ids, npt.NDArray[np.int64]]

log = logging.getLogger(__name__)


class Encode(Protocol):
    """Encodes n UTF-8 texts: their ids end to end (total,), and the number of ids of each (n,).

    The ids include those of the tokenizer's template and the end-of-document id.
    """

    version: str

    def __call__(self, texts: list[bytes]) -> Encoded:
        """Encode a batch."""
        ...


@dataclass(frozen=True)
class Frame:
    """The ids around each document: the tokenizer's template before and after, then its end.

    dtype: of the framed ids.
    """

    dtype: np.dtype[np.integer]
    before: tuple[int, ...]
    after: tuple[int, ...]
    end: tuple[int, ...]

    def around(self, flat: Ids, lengths: npt.NDArray[np.int64]) -> Encoded:
        """Frame documents that lie end to end in `flat` (total,), of `lengths` (n,) ids each.

        A document without ids, of a tokenizer without a template, stays empty: it gets no end.
        """
        after = self.after + self.end
        has_ids = (lengths > 0) | bool(self.before or self.after)
        framed_lengths = np.where(has_ids, lengths + len(self.before) + len(after), 0)
        framed = np.empty(int(framed_lengths.sum()), self.dtype)
        starts = np.cumsum(framed_lengths) - framed_lengths
        bodies = starts + len(self.before)
        sources = np.cumsum(lengths) - lengths
        # One slice per document is ten times faster than np.insert, which moves each id by itself.
        for body, source, length in zip(
            bodies.tolist(), sources.tolist(), lengths.tolist(), strict=True
        ):
            framed[body : body + length] = flat[source : source + length]
        for i, token in enumerate(self.before):
            framed[starts[has_ids] + i] = token
        for i, token in enumerate(after):
            framed[(bodies + lengths)[has_ids] + i] = token
        return framed, framed_lengths


class _NotEquivalentError(Exception):
    """gigatoken does not support this tokenizer, or differs from the reference on a text."""


def with_fastest_encoder(tokenizer: Tokenizer, append_eod: bool, work: Callable[[Encode], T]) -> T:
    """The result of `work`, given the fastest encoder whose ids are those of the reference.

    `work` is called again, with the reference, where the encoder turns out to differ halfway.
    Raises DataError for `append_eod` with a tokenizer that has no end-of-document token.
    """
    end: tuple[int, ...] = ()
    if append_eod:
        if tokenizer.eod is None:
            raise DataError(
                f"tokenizer {tokenizer.name} has no end-of-document token",
                "name one as eos_token in its tokenizer_config.json, or omit --append-eod",
            )
        end = (tokenizer.eod,)
    reference = _ReferenceEncoder(tokenizer, end)
    try:
        return work(_GigatokenEncoder(tokenizer, end, reference))
    except _NotEquivalentError as reason:
        log.warning("%s; encoding with tokenizers instead, which is slower", reason)
    return work(reference)


class _ReferenceEncoder:
    """Hugging Face's tokenizers, with the special tokens that transformers would add."""

    def __init__(self, tokenizer: Tokenizer, end: tuple[int, ...]) -> None:
        self.version = f"tokenizers {tokenizers.__version__}"
        self._name = tokenizer.name
        self._backend = tokenizer.backend
        # the backend applies the template itself
        self._frame = Frame(tokenizer.dtype, (), (), end)

    def __call__(self, texts: list[bytes]) -> Encoded:
        ids = [np.empty(0, np.uint32)]
        lengths = []
        for first in range(0, len(texts), _REFERENCE_DOCUMENTS):
            group = [text.decode() for text in texts[first : first + _REFERENCE_DOCUMENTS]]
            with library_errors(f"tokenizer {self._name} cannot encode", MEND):
                encodings = self._backend.encode_batch_fast(group)
            for encoding in encodings:
                ids.append(np.array(encoding.ids, np.uint32))
                lengths.append(len(encoding.ids))
        return self._frame.around(np.concatenate(ids), np.array(lengths, np.int64))


class _GigatokenEncoder:
    """gigatoken, compared with `reference`; raises _NotEquivalentError where the two differ.

    Each thread has a backend of its own, since a backend serves one thread at a time.
    """

    def __init__(
        self, tokenizer: Tokenizer, end: tuple[int, ...], reference: _ReferenceEncoder
    ) -> None:
        self.version = f"gigatoken {importlib.metadata.version('gigatoken')}"
        self._reference = reference
        self._frame = Frame(tokenizer.dtype, *_template(tokenizer.backend), end)
        self._json = tokenizer.backend.to_str()
        self._local = threading.local()
        self._probes = list(map(str.encode, _PROBES))
        # within text: added tokens have matching rules of their own (single_word, lstrip, rstrip)
        added_tokens = tokenizer.backend.get_added_tokens_decoder().values()
        if added_tokens:
            in_text = "".join(f" x{token.content}y" for token in added_tokens)
            self._probes.append(in_text.encode())

    def __call__(self, texts: list[bytes]) -> Encoded:
        batch = getattr(self._local, "batches", 0)
        self._local.batches = batch + 1
        if batch == 0:
            self._compare(self._probes + _samples(texts, _FIRST_SAMPLES))
        elif batch % _BATCHES_PER_SAMPLE == 0:
            self._compare(_samples(texts, 1))
        return self._encode(texts)

    def _encode(self, texts: list[bytes]) -> Encoded:
        try:
            backend = self._backend(sum(map(len, texts)))
            layout = backend.encode_batch(texts, parallel=False).layout
        except BaseException as error:
            if not is_library_error(error):
                raise
            raise _NotEquivalentError(f"gigatoken: {first_line(error)}") from None
        lengths = np.diff(np.asarray(layout.offsets.data))
        return self._frame.around(np.asarray(layout.content.data), lengths)

    def _backend(self, text_bytes: int) -> Any:
        """This thread's backend, to encode this many bytes with."""
        import gigatoken

        # a thread starts without a backend, and so with less than nothing left for it
        remaining = getattr(self._local, "remaining_bytes", -1) - text_bytes
        if remaining < 0:
            self._local.backend = gigatoken.Tokenizer.from_json(self._json)
            remaining = _RENEWED_AFTER_BYTES
        self._local.remaining_bytes = remaining
        return self._local.backend

    def _compare(self, texts: list[bytes]) -> None:
        ids, lengths = self._encode(texts)
        reference_ids, reference_lengths = self._reference(texts)
        same_lengths = np.array_equal(lengths, reference_lengths)
        if not same_lengths or not np.array_equal(ids, reference_ids):
            raise _NotEquivalentError("gigatoken and tokenizers differ on this tokenizer or text")


def _template(backend: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that a tokenizer's own template puts before and after a text."""
    framed = backend.encode("a").ids
    bare = backend.encode("a", add_special_tokens=False).ids
    for start in range(len(framed)):
        if framed[start : start + len(bare)] == bare:
            return tuple(framed[:start]), tuple(framed[start + len(bare) :])
    return (), tuple(framed[len(bare) :])


def _samples(texts: list[bytes], count: int) -> list[bytes]:
    """The beginnings of at most `count` texts, evenly spread."""
    samples = []
    for i in range(min(count, len(texts))):
        beginning = texts[i * len(texts) // count][:_SAMPLE_BYTES]
        # the cut may have gone through a character
        samples.append(beginning.decode(errors="ignore").encode())
    return samples
