"""registry/corpora/*.yml: where a corpus comes from, how large it is, where its tokenized forms lie."""

import dataclasses
import datetime
import functools
from dataclasses import dataclass
from pathlib import Path

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class Files:
    """Where the .bin/.idx of a corpus lie, as prefixes below the data folder.

    subset: for a stated number of unique tokens, with {subset} for its label ('1B9'); whole: for all of it.
    """

    subset: str | None = None
    whole: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Validation:
    """A corpus's validation set: prefix below the data folder, the range of it that is used, its group's own name."""

    file: str
    start: float = 0.0
    end: float = 1.0
    group: str | None = None
    samples: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus: where its text comes from, how large it is, and where its tokenized forms lie.

    field: the key of the text in a document. samples: of the whole; tokens_per_sample: with GPT-2's tokenizer; None:
    open.
    validated_on: the corpora whose validation sets a run on this one is measured on; empty: itself.
    file_word: what names of data-path files call it, where that is not its name.
    """

    name: str
    title: str
    source: str
    checked: datetime.date
    files: Files
    hub: str | None = None
    hub_config: str | None = None
    hub_tokenized: tuple[str, ...] = ()
    licence: str | None = None
    field: str = "text"
    samples: int | None = None
    tokens_per_sample: float | None = None
    variants: dict[str, Files] = dataclasses.field(default_factory=dict)
    validation: Validation | None = None
    validated_on: tuple[str, ...] = ()
    file_word: str | None = None
    note: str = ""

    @property
    def tokens(self) -> int | None:
        """Tokens of the whole, with GPT-2's tokenizer; None where samples or tokens per sample are open."""
        if self.samples is None or self.tokens_per_sample is None:
            return None
        return round(self.samples * self.tokens_per_sample)


@functools.cache
def load_corpora(folder: Path = FOLDER) -> dict[str, Corpus]:
    """corpora/*.yml, by file stem."""
    return {
        path.stem: strict_yaml.load(path, Corpus)
        for path in sorted((folder / "corpora").glob("*.yml"))
    }
