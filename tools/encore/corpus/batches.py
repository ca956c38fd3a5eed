"""What streams of documents are made of: batches, and budgets that end a stream."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from encore.errors import DataError, UsageError


@dataclass(frozen=True)
class InputDigest:
    """What was read of one input: its size in bytes, the SHA-256 of its first `hashed_bytes`.

    A dataset is not a file: its size is None, and the digest is of its texts.
    """

    name: str
    bytes: int | None
    hashed_bytes: int
    sha256: str


@dataclass(frozen=True)
class Batch:
    """Consecutive documents of one input, as UTF-8.

    source: what had been read of the input by the end of this batch.
    lines: the raw lines of the documents, with their line ends, where the input has lines.
    skipped: for each document that was left out, how many of this batch's documents precede it,
    and the reason.
    input_index: the position of the input on the command line, from 0.
    """

    source: InputDigest
    texts: list[bytes]
    lines: list[bytes] | None = None
    skipped: list[tuple[int, str]] = field(default_factory=list)
    input_index: int = 0

    def first(self, count: int) -> "Batch":
        """The first `count` documents, and what was skipped before the last of them."""
        skipped = [(i, reason) for i, reason in self.skipped if i < count]
        lines = None
        if self.lines is not None:
            lines = self.lines[:count]
        return replace(self, texts=self.texts[:count], lines=lines, skipped=skipped)

    def rest(self, count: int) -> "Batch":
        """All but the first `count` documents, and what was skipped among them."""
        skipped = [(i - count, reason) for i, reason in self.skipped if i >= count]
        lines = None
        if self.lines is not None:
            lines = self.lines[count:]
        return replace(self, texts=self.texts[count:], lines=lines, skipped=skipped)


Batches = Generator[Batch, None, None]


class Budget:
    """An amount of `unit` to take from a stream; None: all of it. Raises UsageError if below 1.

    Documents are taken whole, so that the last one may exceed the amount: `remaining` is then
    negative.
    """

    def __init__(self, amount: int | None, unit: str) -> None:
        if amount is not None and amount < 1:
            raise UsageError(f"{amount} {unit} cannot be taken", "ask for at least 1")
        self._amount = amount
        self._unit = unit
        self.remaining = amount

    def take(self, sizes: npt.ArrayLike) -> int:
        """How many of the next documents, of these sizes (n,), are needed; they count as taken."""
        ends = np.cumsum(sizes, dtype=np.int64)
        if self.remaining is None or not len(ends):
            return len(ends)
        count = min(int(np.searchsorted(ends, self.remaining)) + 1, len(ends))
        self.remaining -= int(ends[count - 1])
        return count

    @property
    def reached(self) -> bool:
        """Nothing more is needed."""
        return self.remaining is not None and self.remaining <= 0

    def check(self) -> None:
        """Raise DataError if the documents ended before the amount was reached."""
        if self._amount is None or self.remaining is None or self.reached:
            return
        available = self._amount - self.remaining
        raise DataError(
            f"the input has {available:,} {self._unit}, fewer than the {self._amount:,} asked for",
            f"ask for at most {available:,}",
        )


def check_not_empty(documents: int, skipped: Mapping[str, int]) -> None:
    """Raise DataError where no document is left.

    An empty pair would look whole to everything that reads it, until training finds nothing in it.
    """
    if documents:
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items() if count)
    if reasons:
        raise DataError(
            f"no document is left: {reasons}",
            "see what is wrong with them: leave out --on-error skip",
        )
    raise DataError("the input holds no documents", "see its beginning with: head -c 1000 INPUT")


Sizes = Callable[[Batch], npt.ArrayLike]
"""Measures each document of a batch, (n,), in a budget's unit."""


def head(batches: Batches, budget: Budget, sizes: Sizes) -> Batches:
    """The first documents, up to and including the one that reaches the budget.

    Nothing is read beyond that batch. Raises DataError if the stream ends too early.
    """
    # Not left to the garbage collector: closing ends threads that read ahead, and open files.
    with contextlib.closing(batches):
        for batch in batches:
            count = budget.take(sizes(batch))
            if budget.reached:
                yield batch.first(count)
                return
            yield batch
    budget.check()
