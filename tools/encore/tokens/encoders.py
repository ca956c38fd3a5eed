"""Texts to token ids: the fastest encoder that is proved right, compared with the reference throughout."""

import importlib.metadata
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import tokenizers

from encore.errors import DataError
from encore.tokens.tokenizer import Tokenizer

_SLICE_BYTES = 2 << 10


_FIRST_SLICES = 64


_BATCHES_PER_SLICE = 8


_RENEWED_AFTER_BYTES = 256 << 20


_SLOW_DOCUMENTS = 64


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


class Encode(Protocol):
    """Texts (n,) → their ids end to end (total,), and how many each has (n,), what frames them among them."""

    version: str

    def __call__(self, texts: list[bytes]) -> Encoded:
        """Encode a batch."""
        ...


@dataclass(frozen=True)
class Frame:
    """What is put around each document's ids: the tokenizer's own template, then the end-of-document id."""

    dtype: np.dtype
    before: tuple[int, ...]
    after: tuple[int, ...]
    end: tuple[int, ...]

    def around(self, flat: Ids, lengths: npt.NDArray[np.int64]) -> Encoded:
        """The same documents, framed and in `dtype`; one that would be nothing but its `end` stays empty."""
        after = self.after + self.end
        kept = (lengths > 0) | bool(self.before or self.after)
        framed = np.where(kept, lengths + len(self.before) + len(after), 0)
        out = np.empty(int(framed.sum()), self.dtype)
        starts = np.cumsum(framed) - framed
        bodies = starts + len(self.before)
        sources = np.cumsum(lengths) - lengths
        # One slice a document is ten times quicker than np.insert, which moves every id by itself.
        for to, at, length in zip(bodies.tolist(), sources.tolist(), lengths.tolist(), strict=True):
            out[to : to + length] = flat[at : at + length]
        for i, token in enumerate(self.before):
            out[starts[kept] + i] = token
        for i, token in enumerate(after):
            out[(bodies + lengths)[kept] + i] = token
        return out, framed


class _UnprovedError(Exception):
    """gigatoken does not know this tokenizer, or disagrees with tokenizers on a text."""


def encoding(
    tokenizer: Tokenizer, append_eod: bool, warn: Callable[[str], None], work: Callable[[Encode], T]
) -> T:
    """Do `work` with the fastest encoder that is proved right; it is called again if the proof fails halfway."""
    if append_eod and tokenizer.eod is None:
        raise DataError(
            f"tokenizer {tokenizer.name} has no end-of-document token",
            "name one as eos_token in its tokenizer_config.json, or leave out --append-eod",
        )
    end = (tokenizer.eod,) if append_eod and tokenizer.eod is not None else ()
    slow = _SlowEncoder(tokenizer, end)
    try:
        return work(_FastEncoder(tokenizer, end, slow))
    except _UnprovedError as reason:
        warn(f"{reason}; encoding with tokenizers instead, which is slower")
    return work(slow)


class _SlowEncoder:
    """The reference: Hugging Face's tokenizers, with the special tokens of its template as transformers adds them."""

    def __init__(self, tokenizer: Tokenizer, end: tuple[int, ...]) -> None:
        self.version = f"tokenizers {tokenizers.__version__}"
        self._backend = tokenizer.backend
        self._frame = Frame(tokenizer.dtype, (), (), end)

    def __call__(self, texts: list[bytes]) -> Encoded:
        ids, lengths = [np.empty(0, np.uint32)], []
        for first in range(
            0, len(texts), _SLOW_DOCUMENTS
        ):  # an Encoding takes a hundred times an id's memory
            some = [text.decode() for text in texts[first : first + _SLOW_DOCUMENTS]]
            encoded = [
                np.array(one.ids, np.uint32) for one in self._backend.encode_batch_fast(some)
            ]
            ids += encoded
            lengths += map(len, encoded)
        return self._frame.around(np.concatenate(ids), np.array(lengths, np.int64))


class _FastEncoder:
    """gigatoken, compared with `reference` on probes and slices of the first batch, then on a slice now and again.

    Each thread has a backend of its own, since one serves one thread at a time. A backend remembers every word that it
    has met, 100 bytes each, so that it is made anew from time to time.
    """

    def __init__(self, tokenizer: Tokenizer, end: tuple[int, ...], reference: _SlowEncoder) -> None:
        self.version = f"gigatoken {importlib.metadata.version('gigatoken')}"
        self._reference = reference
        self._frame = Frame(tokenizer.dtype, *_template(tokenizer.backend), end)
        self._json = tokenizer.backend.to_str()
        self._local = threading.local()
        added = (token.content for token in tokenizer.backend.get_added_tokens_decoder().values())
        self._probes = [
            probe.encode()
            for probe in (*_PROBES, "".join(f" x{content}y" for content in added))
            if probe
        ]

    def __call__(self, texts: list[bytes]) -> Encoded:
        batches = self._local.batches = getattr(self._local, "batches", -1) + 1
        if batches == 0:
            self._prove(self._probes + _slices(texts, _FIRST_SLICES))
        elif batches % _BATCHES_PER_SLICE == 0:
            self._prove(_slices(texts, 1))
        return self._encode(texts)

    def _encode(self, texts: list[bytes]) -> Encoded:
        layout = self._backend(sum(map(len, texts))).encode_batch(texts, parallel=False).layout
        return self._frame.around(
            np.asarray(layout.content.data), np.diff(np.asarray(layout.offsets.data))
        )

    def _backend(self, size: int) -> Any:
        """This thread's backend, for so many bytes of text."""
        import gigatoken

        left = getattr(self._local, "left", -1) - size
        if left < 0:
            try:
                self._local.backend = gigatoken.Tokenizer.from_json(self._json)
            except (RuntimeError, ValueError) as error:
                raise _UnprovedError(f"gigatoken: {str(error).splitlines()[0]}") from None
            left = _RENEWED_AFTER_BYTES
        self._local.left = left
        return self._local.backend

    def _prove(self, texts: list[bytes]) -> None:
        for ours, theirs in zip(self._encode(texts), self._reference(texts), strict=True):
            if not np.array_equal(ours, theirs):
                raise _UnprovedError("gigatoken and tokenizers differ on this tokenizer or text")


def _template(backend: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that a tokenizer's own template puts before and after a text."""
    whole = backend.encode("a").ids
    bare = backend.encode("a", add_special_tokens=False).ids
    at = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    return tuple(whole[:at]), tuple(whole[at + len(bare) :])


def _slices(texts: list[bytes], count: int) -> list[bytes]:
    """The beginnings of so many texts, evenly spread."""
    spread = (texts[i * len(texts) // count] for i in range(min(count, len(texts))))
    return [text[:_SLICE_BYTES].decode(errors="ignore").encode() for text in spread]
