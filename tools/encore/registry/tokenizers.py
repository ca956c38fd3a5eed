"""registry/tokenizers.yml: vocabulary sizes and file hashes."""

import datetime
import functools
from dataclasses import dataclass, field
from pathlib import Path

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class TokenizerFacts:
    """A tokenizer by its files' SHA-256; no files means that it is trained on the user's machine."""

    name: str
    vocabulary: int
    source: str
    checked: datetime.date
    files: dict[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class _Tokenizers:
    tokenizers: dict[str, TokenizerFacts]


@functools.cache
def load_tokenizers(folder: Path = FOLDER) -> dict[str, TokenizerFacts]:
    """tokenizers.yml, by name."""
    return strict_yaml.load(folder / "tokenizers.yml", _Tokenizers).tokenizers
