"""Documents to Megatron's .bin/.idx: byte for byte what its tools/preprocess_data.py writes, and a manifest.

gigatoken encodes where it can; its ids are compared with those of `tokenizers` on text of every batch, and if they ever
differ the work starts over with `tokenizers` alone. Source of what is written: TurkuNLP 6732bc9
tools/preprocess_data.py and megatron/tokenizer/tokenizer.py: a document without tokens is dropped; the end-of-document
id follows all others, after what the tokenizer's own template adds; the dtype follows the unpadded vocabulary.
"""

import contextlib
import functools
import importlib.metadata
import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import tokenizers

from encore import __version__, files
from encore.documents import Batches, Budget, Source
from encore.errors import DataError
from encore.indexed import IndexedWriter, bin_path, idx_path, smallest_dtype
from encore.threads import ahead, mapped

_END_OF_TEXT = "<|endoftext|>"
_SLICE_BYTES = 2 << 10
_FIRST_SLICES = 64
_BATCHES_PER_SLICE = 8
_RENEWED_AFTER_BYTES = 512 << 20
_MOST_USEFUL_THREADS = 4  # one thread reads JSON about as fast as these encode
_SLOW_DOCUMENTS = 64
_PROBES = (
    "\r\n\r\n\ttabs  and   runs of    blanks \n",
    "can't we've I'LL 1234567890 3.14e-10 ½²³ Ⅻ",
    "Ünïcödé e\u0301 \u200d\u202e\ufeff ﷺ ١٢٣ 你好，世界 こんにちは 한국어 हिन्दी",
    "👩‍👩‍👧‍👦🏳️‍🌈 \x00\x01\x7f\x85\xa0\u2028\u2029\U0010ffff",
    "a" * 300 + " " * 300 + "=" * 300,
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
class Tokenizer:
    """A tokenizer and the files it came from.

    `megatron_type` is what Megatron's --tokenizer-type calls it: GPT2BPETokenizer (vocab.json and merges.txt, to which
    a text's own "<|endoftext|>" is ordinary text) or PretrainedFromHF (tokenizer.json, where it is one token).
    """

    name: str
    megatron_type: str
    paths: tuple[Path, ...]
    backend: tokenizers.Tokenizer
    eod: int | None

    @property
    def vocabulary_size(self) -> int:
        """Entries with added tokens, unpadded."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """What Megatron would store the ids in; raises DataError where they would overflow it."""
        chosen = smallest_dtype(self.vocabulary_size)
        largest = max(self.backend.get_vocab(with_added_tokens=True).values(), default=0)
        if largest > np.iinfo(chosen).max:
            raise DataError(
                f"tokenizer {self.name} has id {largest}, which {chosen.name} cannot hold, and Megatron stores "
                f"a vocabulary of {self.vocabulary_size} entries as {chosen.name}",
                "renumber its ids without gaps",
            )
        return chosen


def load(name: str) -> Tokenizer:
    """The tokenizer in a folder or tokenizer.json, or of that name on the hub. Raises DataError."""
    path = Path(name)
    if path.is_file():
        return _from_json(name, path, path.parent)
    if (path / "tokenizer.json").is_file():
        return _from_json(name, path / "tokenizer.json", path)
    if (path / "vocab.json").is_file() and (path / "merges.txt").is_file():
        return _from_gpt2_files(name, path / "vocab.json", path / "merges.txt")
    if path.is_dir():
        raise DataError(
            f"tokenizer {name} has neither tokenizer.json nor vocab.json and merges.txt",
            "save it with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)",
        )
    return _from_hub(name)


def _from_gpt2_files(name: str, vocabulary: Path, merges: Path) -> Tokenizer:
    try:
        backend = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(vocabulary), str(merges)))
    except Exception as error:  # tokenizers raises nothing narrower
        raise DataError(f"tokenizer {name} cannot be read: {error}", "fetch its files again") from None
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    missing = [c for c in tokenizers.pre_tokenizers.ByteLevel.alphabet() if backend.token_to_id(c) is None]
    if missing:
        raise DataError(f"{vocabulary} lacks {len(missing)} of the 256 bytes, so that text would be lost")
    eod = backend.token_to_id(_END_OF_TEXT)
    return Tokenizer(name, "GPT2BPETokenizer", (vocabulary, merges), backend, eod)


def _from_json(name: str, path: Path, folder: Path) -> Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # as above
        raise DataError(f"tokenizer {name} cannot be read: {error}", "fetch its files again") from None
    backend.no_truncation()
    backend.no_padding()
    extra = [p for n in ("tokenizer_config.json", "special_tokens_map.json") if (p := folder / n).is_file()]
    return Tokenizer(name, "PretrainedFromHF", (path, *extra), backend, _declared_eod(backend, extra))


def _declared_eod(backend: tokenizers.Tokenizer, configs: list[Path]) -> int | None:
    """The id of eos_token; where no file declares one, GPT-2's own, which transformers knows by its class."""
    for path in configs:
        try:
            token = json.loads(path.read_text(encoding="utf-8")).get("eos_token")
        except (ValueError, AttributeError):
            raise DataError(f"{path} is not a JSON object", "fetch it again") from None
        if token:
            return backend.token_to_id(token["content"] if isinstance(token, dict) else token)
    return backend.token_to_id(_END_OF_TEXT)


def _from_hub(name: str) -> Tokenizer:
    import huggingface_hub

    try:
        path = Path(huggingface_hub.hf_hub_download(name, "tokenizer.json"))
        for extra in ("tokenizer_config.json", "special_tokens_map.json"):
            with contextlib.suppress(huggingface_hub.errors.EntryNotFoundError):
                huggingface_hub.hf_hub_download(name, extra)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"tokenizer {name} is no folder here and could not be fetched: {reason}", "check the name or path"
        ) from None
    return _from_json(name, path, path.parent)


def _threads() -> int:
    """How many threads to encode with where nobody says: one core is left to the reader."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores - 1, _MOST_USEFUL_THREADS))


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


class _DiffersError(Exception):
    """gigatoken and tokenizers disagree on a text."""


def encoding(tokenizer: Tokenizer, append_eod: bool, warn: Callable[[str], None], work: Callable[[Encode], T]) -> T:
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
    except _DiffersError as difference:
        warn(f"{difference}; encoding with the slower tokenizers")
    return work(slow)


class _SlowEncoder:
    """The reference: Hugging Face's tokenizers, with the special tokens of its template as transformers adds them."""

    def __init__(self, tokenizer: Tokenizer, end: tuple[int, ...]) -> None:
        self.version = f"tokenizers {tokenizers.__version__}"
        self._backend = tokenizer.backend
        self._end = end
        self._frame = Frame(tokenizer.dtype, (), (), end)

    def __call__(self, texts: list[bytes]) -> Encoded:
        ids, lengths = [np.empty(0, np.uint32)], []
        for first in range(0, len(texts), _SLOW_DOCUMENTS):  # an Encoding takes a hundred times an id's memory
            some = [text.decode() for text in texts[first : first + _SLOW_DOCUMENTS]]
            encoded = [np.array(one.ids, np.uint32) for one in self._backend.encode_batch_fast(some)]
            ids += encoded
            lengths += map(len, encoded)
        return self._frame.around(np.concatenate(ids), np.array(lengths, np.int64))

    def template(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids that the tokenizer's own template puts before and after a text."""
        whole = self._backend.encode("a").ids
        bare = self._backend.encode("a", add_special_tokens=False).ids
        at = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
        return tuple(whole[:at]), tuple(whole[at + len(bare) :])


class _FastEncoder:
    """gigatoken, compared with `reference` on probes and slices of the first batch, then on a slice now and again.

    Each thread has a backend of its own, since one serves one thread at a time; its memory of the words that it has met
    grows without bound, so that it is made anew from time to time.
    """

    def __init__(self, tokenizer: Tokenizer, end: tuple[int, ...], reference: "_SlowEncoder") -> None:
        self.version = f"gigatoken {importlib.metadata.version('gigatoken')}"
        self._reference = reference
        self._frame = Frame(tokenizer.dtype, *reference.template(), end)
        self._json = tokenizer.backend.to_str()
        self._local = threading.local()
        added = "".join(f" x{token.content}y" for token in tokenizer.backend.get_added_tokens_decoder().values())
        self._prove([probe.encode() for probe in (*_PROBES, _END_OF_TEXT, added) if probe])

    def __call__(self, texts: list[bytes]) -> Encoded:
        self._prove(_slices(texts, self._slices_due()))
        return self._encode(texts)

    def _slices_due(self) -> int:
        """How many slices of this thread's next batch to compare."""
        calls = self._local.calls = getattr(self._local, "calls", -1) + 1
        return 0 if calls % _BATCHES_PER_SLICE else 1 if calls else _FIRST_SLICES

    def _backend(self, size: int) -> Any:
        """This thread's backend, to encode so many bytes with."""
        import gigatoken

        left = getattr(self._local, "left", -1) - size
        if left < 0:
            try:
                self._local.backend = gigatoken.Tokenizer.from_json(self._json)
            except (ValueError, RuntimeError) as error:
                raise _DiffersError(f"gigatoken does not support this tokenizer ({error})") from None
            left = _RENEWED_AFTER_BYTES
        self._local.left = left
        return self._local.backend

    def _encode(self, texts: list[bytes]) -> Encoded:
        backend = self._backend(sum(map(len, texts)))
        layout = backend.encode_batch(texts, parallel=False).layout
        return self._frame.around(np.asarray(layout.content.data), np.diff(np.asarray(layout.offsets.data)))

    def _prove(self, texts: list[bytes]) -> None:
        for ours, theirs in zip(self._encode(texts), self._reference(texts), strict=True):
            if not np.array_equal(ours, theirs):
                raise _DiffersError("gigatoken and tokenizers differ on this tokenizer or text")


def _slices(texts: list[bytes], count: int) -> list[bytes]:
    """The beginnings of so many texts, evenly spread."""
    spread = (texts[i * len(texts) // count] for i in range(min(count, len(texts))))
    return [text[:_SLICE_BYTES].decode(errors="ignore").encode() for text in spread]


@dataclass(frozen=True)
class Job:
    """What to write: PREFIX_FIELD_document.bin/.idx/.json, up to `tokens` ids, if `exact` to the very token."""

    prefix: str
    field: str = "text"
    append_eod: bool = False
    tokens: int | None = None
    exact: bool = False
    workers: int | None = None

    @property
    def target(self) -> str:
        """The prefix that the three files share, as Megatron names it."""
        return f"{self.prefix}_{self.field}_document"


def write(
    open_stream: Callable[[], Batches], tokenizer: Tokenizer, job: Job, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Write the job's .bin and .idx, last its manifest, which is returned. Raises DataError, OutputError."""
    with files.exclusive(bin_path(job.target)):
        return encoding(tokenizer, job.append_eod, warn, lambda encode: _write(open_stream(), encode, tokenizer, job))


def _write(stream: Batches, encode: Encode, tokenizer: Tokenizer, job: Job) -> dict[str, Any]:
    budget = Budget(job.tokens, "tokens")
    sources: dict[str, Source] = {}
    skipped: Counter[str] = Counter()
    manifest = Path(f"{job.target}.json")
    encoded = mapped(lambda batch: (batch, *encode(batch.texts)), ahead(stream), job.workers or _threads())
    with IndexedWriter(job.target, tokenizer.dtype) as writer, contextlib.closing(encoded):
        for batch, ids, lengths in encoded:
            count = budget.take(lengths)
            if budget.reached:
                batch, lengths = batch.first(count), lengths[:count]
                if job.exact:
                    lengths[-1] += budget.left
            writer.add_batch(ids[: lengths.sum()], lengths[lengths > 0])
            sources[batch.source.name] = batch.source
            skipped.update(reason for _, reason in batch.skipped)
            skipped["no tokens"] += int((lengths == 0).sum())
            if budget.reached:
                break
        budget.check()
        manifest.unlink(missing_ok=True)  # from here on an older one would describe other files
    written = {
        "kit": f"encore {__version__}",
        "documents": writer.documents,
        "tokens": writer.tokens,
        "dtype": writer.dtype.name,
        "append_eod": job.append_eod,
        "encoder": encode.version,
        "tokenizer": {
            "name": tokenizer.name,
            "megatron_type": tokenizer.megatron_type,
            "vocabulary_size": tokenizer.vocabulary_size,
            "eod": tokenizer.eod,
            "sha256": {path.name: files.sha256(path) for path in tokenizer.paths},
        },
        "inputs": [asdict(source) for source in sources.values()],
        "skipped": +skipped,
        "sha256": {
            bin_path(job.target).name: writer.bin_sha256,
            idx_path(job.target).name: files.sha256(idx_path(job.target)),
        },
    }
    files.write_text(manifest, json.dumps(written, indent=2, ensure_ascii=False) + "\n")
    return written
