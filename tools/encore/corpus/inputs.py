"""Which inputs name a dataset of the Hub, as NAME or NAME:CONFIG. Loads nothing heavy."""

import re
from dataclasses import dataclass
from pathlib import Path

_DATASET = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.-]+))?")
# A missing data/c4.jsonl has the form of a dataset's name; the Hub need not be asked about it.
_DATA_SUFFIXES = (".jsonl", ".json", ".ndjson", ".gz", ".zst", ".parquet", ".txt")


@dataclass(frozen=True)
class DatasetName:
    """A Hugging Face dataset and one of its configurations, None for its only or default one."""

    name: str
    config: str | None

    def __str__(self) -> str:
        if self.config is None:
            return self.name
        return f"{self.name}:{self.config}"


def parse_dataset(text: str) -> DatasetName | None:
    """The dataset that an input names; None where it is a path or has the form of neither."""
    match = _DATASET.fullmatch(text)
    if match is None or Path(text).exists() or text.endswith(_DATA_SUFFIXES):
        return None
    return DatasetName(match["name"], match["config"])
