"""registry/tokenizers.yml: vocabulary sizes and file hashes."""

import datetime
import functools
from dataclasses import dataclass, field
from pathlib import Path

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class TokenizerFacts:
    """A tokenizer.

    files: SHA-256 by file name, empty for one that is trained on the machine. repository: where
    they are on the Hub, as OWNER/NAME.
    """

    name: str
    vocabulary: int
    source: str
    checked: datetime.date
    files: dict[str, str] = field(default_factory=dict)
    repository: str | None = None
    note: str = ""


@dataclass(frozen=True)
class _Tokenizers:
    tokenizers: dict[str, TokenizerFacts]


@functools.cache
def load_tokenizers(folder: Path = FOLDER) -> dict[str, TokenizerFacts]:
    """tokenizers.yml, by name."""
    return strict_yaml.load(folder / "tokenizers.yml", _Tokenizers).tokenizers
