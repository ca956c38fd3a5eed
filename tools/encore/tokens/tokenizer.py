"""A tokenizer as Megatron would load it: from a folder, a tokenizer.json, or the hub.

Source: TurkuNLP 6732bc9 megatron/tokenizer/tokenizer.py. Only JSON and text are read; nothing that comes with a
tokenizer is executed.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from encore import files, hub_library
from encore.errors import DataError, HubError
from encore.tokens.indexed import smallest_dtype

_END_OF_TEXT = "<|endoftext|>"


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

    def describe(self) -> dict[str, Any]:
        """What a manifest says of it: enough to tell whether two runs had the same."""
        return {
            "name": self.name,
            "megatron_type": self.megatron_type,
            "vocabulary_size": self.vocabulary_size,
            "eod": self.eod,
            "sha256": {path.name: files.sha256(path) for path in self.paths},
        }


def load(name: str) -> Tokenizer:
    """The tokenizer in a folder or tokenizer.json, or of that name on the Hub.

    Raises DataError for files that are not a tokenizer's, HubError.
    """
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
        backend = tokenizers.Tokenizer(
            tokenizers.models.BPE.from_file(str(vocabulary), str(merges))
        )
    except Exception as error:  # tokenizers raises nothing narrower
        raise DataError(
            f"tokenizer {name} cannot be read: {error}", "fetch its files again"
        ) from None
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    missing = [
        c for c in tokenizers.pre_tokenizers.ByteLevel.alphabet() if backend.token_to_id(c) is None
    ]
    if missing:
        raise DataError(
            f"{vocabulary} lacks {len(missing)} of the 256 bytes, so that text would be lost"
        )
    eod = backend.token_to_id(_END_OF_TEXT)
    return Tokenizer(name, "GPT2BPETokenizer", (vocabulary, merges), backend, eod)


def _from_json(name: str, path: Path, folder: Path) -> Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # as above
        raise DataError(
            f"tokenizer {name} cannot be read: {error}", "fetch its files again"
        ) from None
    backend.no_truncation()
    backend.no_padding()
    extra = [
        p
        for n in ("tokenizer_config.json", "special_tokens_map.json")
        if (p := folder / n).is_file()
    ]
    return Tokenizer(
        name, "PretrainedFromHF", (path, *extra), backend, _declared_eod(backend, extra)
    )


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
    try:
        paths = hub_library.cached_files(
            name, "tokenizer.json", ("tokenizer_config.json", "special_tokens_map.json")
        )
    except HubError as error:
        raise type(error)(
            f"tokenizer {name} is not a local folder, and {error}",
            f"{error.hint}; or name a folder that holds tokenizer.json",
        ) from None
    return _from_json(name, paths[0], paths[0].parent)
