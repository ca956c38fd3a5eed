"""PREFIX.json, the manifest of a tokenized .bin/.idx pair: what it holds, what it was made from.

`prepare_corpus.py tokenize` writes it last, so that a manifest vouches for a whole pair. `bins.py
verify` and the doctor compare pairs with it. Nothing here needs numpy: the doctor runs without.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore import files, strict_json
from encore.errors import DataError

if TYPE_CHECKING:
    from encore.tokens.indexed import Index

TOKENIZE_AGAIN = "tokenize again with tools/prepare_corpus.py tokenize"

# A file name that is not UTF-8 reaches a manifest as lone surrogates, which UTF-8 cannot hold but a
# JSON escape can.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Manifest:
    """The contents of PREFIX.json.

    kit: the version that wrote it.
    encoder: the library that encoded, and its version.
    tokenizer: name, SHA-256 of its files and more, as `Tokenizer.describe` gives them.
    inputs: name, bytes and SHA-256 of each input, as `corpus.batches.InputDigest` holds them.
    skipped: how many documents were left out, by reason.
    sha256: of the .bin and the .idx, by file name.
    """

    kit: str
    documents: int
    tokens: int
    dtype: str
    append_eod: bool
    encoder: str
    tokenizer: dict[str, Any]
    inputs: list[dict[str, Any]]
    skipped: dict[str, int]
    sha256: dict[str, str]

    @staticmethod
    def path(prefix: str | os.PathLike[str]) -> Path:
        """Where the manifest of `prefix` lies."""
        return Path(f"{os.fspath(prefix)}.json")

    @classmethod
    def read(cls, prefix: str | os.PathLike[str]) -> "Manifest | None":
        """The manifest of `prefix`, None where there is no file.

        Raises DataError for a file that cannot be read or that `write` cannot have written.
        """
        path = cls.path(prefix)
        hint = f"{TOKENIZE_AGAIN}, or fetch {path.name} again"
        try:
            raw = strict_json.read(path)
            _check(raw)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", hint) from None
        except ValueError as error:
            reason = f"{path} is not a manifest of prepare_corpus.py: {_reason(error)}"
            raise DataError(reason, hint) from None
        return cls(**{field.name: raw[field.name] for field in fields(cls)})

    def write(self, prefix: str | os.PathLike[str]) -> None:
        """Write PREFIX.json, whole or not at all."""
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        escaped = _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
        files.write_text(self.path(prefix), f"{escaped}\n")

    @classmethod
    def remove(cls, prefix: str | os.PathLike[str]) -> None:
        """Remove PREFIX.json, before a new pair takes the place of the one that it describes."""
        cls.path(prefix).unlink(missing_ok=True)

    def to_json(self) -> dict[str, Any]:
        """The JSON object that PREFIX.json holds."""
        return asdict(self)

    def mismatch(self, index: "Index", sha256: Mapping[str, str] | None = None) -> str | None:
        """How a pair differs from its manifest, in words; None where it does not.

        sha256: by file name, as computed from the pair; other files are not compared.
        """
        differences = []
        pair = {
            "documents": index.document_count,
            "tokens": index.token_count,
            "dtype": index.dtype.name,
        }
        for name, value in pair.items():
            stated = getattr(self, name)
            if stated != value:
                differences.append(f"{name} {stated} (here {value})")
        for name, digest in (sha256 or {}).items():
            if self.sha256.get(name) != digest:
                differences.append(f"another SHA-256 of {name}")
        if not differences:
            return None
        return f"{self.path(index.prefix)} describes another pair: {', '.join(differences)}"


def _check(raw: Any) -> None:
    """Raise ValueError unless `raw` has every field of a manifest, of the right type."""
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    for field in fields(Manifest):
        if field.name not in raw:
            raise ValueError(f"it lacks {field.name!r}")
    for name in ("kit", "dtype", "encoder"):
        _expect(_is_text(raw[name]), name, "a string")
    for name in ("documents", "tokens"):
        _expect(_is_count(raw[name]), name, "a count")
    _expect(isinstance(raw["append_eod"], bool), "append_eod", "true or false")
    _expect(_is_object(raw["tokenizer"]), "tokenizer", "an object")
    inputs = raw["inputs"]
    inputs_right = isinstance(inputs, list) and all(map(_is_object, inputs))
    _expect(inputs_right, "inputs", "a list of objects")
    skipped = raw["skipped"]
    skipped_right = _is_object(skipped) and all(map(_is_count, skipped.values()))
    _expect(skipped_right, "skipped", "an object of counts")
    sha256 = raw["sha256"]
    sha256_right = _is_object(sha256) and all(map(_is_text, sha256.values()))
    _expect(sha256_right, "sha256", "an object of strings")


def _expect(right: bool, name: str, kind: str) -> None:
    if not right:
        raise ValueError(f"{name!r} is not {kind}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_count(value: Any) -> bool:
    # JSON's true is an int to isinstance
    return type(value) is int and value >= 0


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error})"
    return str(error)
