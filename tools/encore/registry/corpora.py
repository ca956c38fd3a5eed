"""registry/corpora/*.yml: where a corpus comes from, its size, and its tokenized files."""

import dataclasses
import datetime
import functools
from dataclasses import dataclass
from pathlib import Path

from encore.registry import strict_yaml
from encore.registry.folder import FOLDER


@dataclass(frozen=True)
class Files:
    """The .bin/.idx of a corpus, as prefixes below the data folder.

    subset: for a number of unique tokens, with {subset} for its label ('1B9'). whole: all of it.
    """

    subset: str | None = None
    whole: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Validation:
    """A corpus's validation set.

    file: a prefix below the data folder. start, end: the part of it that is used, from 0 to 1.
    group: the name of its data-path group, where that is not `validation`.
    """

    file: str
    start: float = 0.0
    end: float = 1.0
    group: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus.

    hub: its data set on the Hugging Face Hub. field: the key of the text in a document.
    samples: documents of the whole; tokens_per_sample: with GPT-2's tokenizer; None: not known.
    variants: its filtered forms. validated_on: the corpora whose validation sets a run on this one
    is measured on; empty: its own. file_word: its word in the names of data-path files; None: its
    name.
    """

    name: str
    title: str
    source: str
    checked: datetime.date
    files: Files
    hub: str | None = None
    licence: str = "not stated"
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
        """Tokens of the whole with GPT-2's tokenizer; None where that is not known."""
        if self.samples is None or self.tokens_per_sample is None:
            return None
        return round(self.samples * self.tokens_per_sample)


@functools.cache
def load_corpora(folder: Path = FOLDER) -> dict[str, Corpus]:
    """corpora/*.yml, by file stem."""
    corpora = {}
    for path in sorted((folder / "corpora").glob("*.yml")):
        corpora[path.stem] = strict_yaml.load(path, Corpus)
    return corpora
