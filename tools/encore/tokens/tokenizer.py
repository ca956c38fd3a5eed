"""A tokenizer as Megatron would load it: from a folder, a tokenizer.json, or the Hugging Face Hub.

Only JSON and text are read; code that comes with a tokenizer is never executed.
Source: TurkuNLP 6732bc9 megatron/tokenizer/tokenizer.py.
"""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from encore import data_file, files, hub_library, strict_json
from encore.errors import DataError, EncoreError, HubError
from encore.tokens.indexed import smallest_dtype

END_OF_TEXT = "<|endoftext|>"
MEND = "use another tokenizer, or mend this one"
_CONFIGS = ("tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer, the files it was read from, and the id of its end-of-document token, if any.

    megatron_type: its name for Megatron's --tokenizer-type. A "<|endoftext|>" within a text is
    ordinary text to a GPT2BPETokenizer (vocab.json and merges.txt), and one token to a
    PretrainedFromHF (tokenizer.json).
    """

    name: str
    megatron_type: str
    paths: tuple[Path, ...]
    backend: tokenizers.Tokenizer
    eod: int | None

    @property
    def vocabulary_size(self) -> int:
        """Number of entries, with added tokens, without Megatron's padding."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    @functools.cached_property
    def dtype(self) -> np.dtype[np.integer]:
        """The dtype in which Megatron stores the ids; raises DataError where an id overflows it."""
        dtype = smallest_dtype(self.vocabulary_size)
        # Megatron goes by the number of entries; where ids have gaps, the largest id exceeds it
        ids = list(self.backend.get_vocab(with_added_tokens=True).values())
        with library_errors(f"tokenizer {self.name} cannot encode", MEND):
            # a template may have ids that no entry has
            ids += self.backend.encode("a").ids
        largest = max(ids, default=0)
        if largest > np.iinfo(dtype).max:
            raise DataError(
                f"tokenizer {self.name} has id {largest}, which {dtype.name} cannot hold, and"
                f" Megatron stores a vocabulary of {self.vocabulary_size} entries as {dtype.name}",
                "renumber its ids without gaps",
            )
        return dtype

    def describe(self) -> dict[str, Any]:
        """Its entry in a manifest: enough to tell whether two runs used the same tokenizer."""
        return {
            "name": self.name,
            "megatron_type": self.megatron_type,
            "vocabulary_size": self.vocabulary_size,
            "eod": self.eod,
            "sha256": {path.name: files.sha256(path) for path in self.paths},
        }


def load(name: str) -> Tokenizer:
    """The tokenizer of a folder or tokenizer.json, or of a name on the Hub.

    Raises DataError for files that are not a tokenizer's, HubError for a failed download.
    """
    path = Path(name)
    if path.is_dir():
        if (path / "tokenizer.json").exists():
            return _from_json(name, path / "tokenizer.json", path)
        if (path / "vocab.json").exists() and (path / "merges.txt").exists():
            return _from_gpt2_files(name, path / "vocab.json", path / "merges.txt")
        raise DataError(
            f"tokenizer {name} has neither tokenizer.json nor vocab.json and merges.txt",
            "save it with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(…)",
        )
    if path.exists():
        return _from_json(name, path, path.parent)
    if not hub_library.may_be_repository(name):
        raise DataError(
            f"tokenizer {name} does not exist",
            "give a folder, a tokenizer.json, or a name on the Hub",
        )
    return _from_hub(name)


@contextlib.contextmanager
def library_errors(failure: str, hint: str) -> Iterator[None]:
    """Raise what the library says as a DataError of one line: `failure`, and the reason."""
    try:
        yield
    except BaseException as error:  # the library raises nothing narrower
        # the second: a path that is no UTF-8, which the commands say better
        is_said = isinstance(error, EncoreError | UnicodeEncodeError)
        if is_said or not is_library_error(error):
            raise
        raise DataError(f"{failure}: {first_line(error)}", hint) from None


def is_library_error(error: BaseException) -> bool:
    """Whether this can be what a library in Rust raises for what it was given."""
    # a panic is no Exception, and its class cannot be imported
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _from_gpt2_files(name: str, vocabulary: Path, merges: Path) -> Tokenizer:
    with library_errors(
        f"tokenizer {name} cannot be read", f"fetch {vocabulary.name} and {merges.name} again"
    ):
        data_file.check(vocabulary)
        data_file.check(merges)
        backend = tokenizers.Tokenizer(
            tokenizers.models.BPE.from_file(str(vocabulary), str(merges))
        )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    missing = 0
    for byte in tokenizers.pre_tokenizers.ByteLevel.alphabet():
        if backend.token_to_id(byte) is None:
            missing += 1
    if missing:
        raise DataError(
            f"{vocabulary} lacks {missing} of the 256 bytes, so that text would be lost",
            f"fetch {vocabulary.name} again",
        )
    eod = backend.token_to_id(END_OF_TEXT)
    return Tokenizer(name, "GPT2BPETokenizer", (vocabulary, merges), backend, eod)


def _from_json(name: str, path: Path, folder: Path) -> Tokenizer:
    with library_errors(f"tokenizer {name} cannot be read", f"fetch {path.name} again"):
        backend = tokenizers.Tokenizer.from_str(data_file.read_text(path))
        # a saved tokenizer may cut or pad texts to the context of a model
        backend.no_truncation()
        backend.no_padding()
    configs = [folder / config for config in _CONFIGS if (folder / config).is_file()]
    eod = _declared_eod(backend, configs)
    return Tokenizer(name, "PretrainedFromHF", (path, *configs), backend, eod)


def _declared_eod(backend: tokenizers.Tokenizer, configs: list[Path]) -> int | None:
    """The id of the first eos_token that a file declares, else of GPT-2's.

    GPT-2's own files may declare none: transformers knows the token by the tokenizer's class.
    """
    for path in configs:
        hint = f"fetch {path.name} again"
        token = strict_json.read_object(path, DataError, hint).get("eos_token")
        if isinstance(token, dict):
            # an AddedToken, as transformers saves it
            token = token.get("content")
        if token and not isinstance(token, str):
            raise DataError(f"{path}: eos_token {token!r} is not a string", hint)
        if token:
            return backend.token_to_id(token)
    return backend.token_to_id(END_OF_TEXT)


def _from_hub(name: str) -> Tokenizer:
    try:
        paths = hub_library.cached_files(name, "tokenizer.json", _CONFIGS)
    except HubError as error:
        raise type(error)(
            f"tokenizer {name} is not a local folder, and {error}",
            f"{error.hint}; or name a folder that holds tokenizer.json",
        ) from None
    return _from_json(name, paths[0], paths[0].parent)
