"""What streams of documents are made of: batches, and budgets that end a stream."""

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from encore.errors import DataError, UsageError


@dataclass(frozen=True)
class InputDigest:
    """One input so far: its size in bytes, and the digest of the `hashed_bytes` that were read of it.

    For a dataset, which is no file, both count its texts.
    """

    name: str
    bytes: int | None
    hashed_bytes: int
    sha256: str


@dataclass(frozen=True)
class Batch:
    """Consecutive documents of one input, as UTF-8; `lines` holds their raw lines where the input has lines.

    `input_index` is the number of the input, from 0; `source` what was read of it up to this batch's end. `skipped` tells of
    each document that was left out how many of this batch's stand before it, and why.
    """

    source: InputDigest
    texts: list[bytes]
    lines: list[bytes] | None = None
    skipped: list[tuple[int, str]] = field(default_factory=list)
    input_index: int = 0

    def first(self, count: int) -> "Batch":
        """The first documents, and what was skipped before the last of them."""
        skipped = [(i, reason) for i, reason in self.skipped if i < count]
        return replace(
            self, texts=self.texts[:count], lines=self.lines and self.lines[:count], skipped=skipped
        )

    def rest(self, count: int) -> "Batch":
        """All but the first documents, and what was skipped among them."""
        skipped = [(i - count, reason) for i, reason in self.skipped if i >= count]
        return replace(
            self, texts=self.texts[count:], lines=self.lines and self.lines[count:], skipped=skipped
        )


Batches = Generator[Batch, None, None]


@dataclass
class Budget:
    """An amount of `unit` still to take; whole documents are taken until it is reached (None: no bound)."""

    remaining: int | None
    unit: str

    def __post_init__(self) -> None:
        if self.remaining is not None and self.remaining < 1:
            raise UsageError(
                f"{self.remaining} {self.unit} is nothing to take", "ask for at least 1"
            )

    def take(self, sizes: npt.ArrayLike) -> int:
        """How many of the next documents, of these sizes, are needed; counts them as taken."""
        ends = np.cumsum(sizes, dtype=np.int64)
        if self.remaining is None or not len(ends):
            return len(ends)
        taken = min(int(np.searchsorted(ends, self.remaining)) + 1, len(ends))
        self.remaining -= int(ends[taken - 1])
        return taken

    @property
    def reached(self) -> bool:
        """Nothing more is needed."""
        return self.remaining is not None and self.remaining <= 0

    def check(self) -> None:
        """Raises DataError if the documents ended before the amount was reached."""
        if self.remaining is not None and self.remaining > 0:
            raise DataError(
                f"the input ends {self.remaining:,} {self.unit} short of what was asked for",
                "ask for less",
            )


Sizes = Callable[[Batch], npt.ArrayLike]
"""Measures each document of a batch, (n,), in a budget's unit."""


def head(batches: Batches, budget: Budget, sizes: Sizes) -> Batches:
    """The first documents, up to and with the one that reaches the budget. Raises DataError if none does."""
    with contextlib.closing(batches):
        for batch in batches:
            count = budget.take(sizes(batch))
            if budget.reached:
                yield batch.first(count)
                return
            yield batch
    budget.check()
