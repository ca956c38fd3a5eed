"""Scalars from TensorBoard's event files, many at a time.

An event is the time, the step and a summary. The summaries of a tag differ in nothing but the value's bytes: so each
*form* of a summary is read once field by field (`summaries`), and every other event of that form is recognised by all
its bytes and decoded with numpy.

But: text, histograms, images and graphs are skipped.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encore.curves import event_proto, tfrecord
from encore.curves.event_proto import Scalar
from encore.curves.tfrecord import Block, Damage

# no event with a scalar is shorter, and in none so long can the step reach beyond the end
_LEAST_BYTES = 20
_TIME_KEY, _STEP_KEY = 0x09, 0x10
_WORD_BYTES = 8
_LEARN = 256
_NO_TAG = -1
_PLUGIN = "scalars"


@dataclass(frozen=True)
class Series:
    """What a file holds of a tag, in the order of writing: steps, values, seconds since the epoch; each of shape [n].

    A value that was written as float32 is exactly that number.
    """

    steps: np.ndarray
    values: np.ndarray
    times_s: np.ndarray


@dataclass(frozen=True)
class EventFile:
    """The scalars of an event file by tag, and what cut its reading short."""

    series: dict[str, Series]
    damage: Damage | None


def read(path: Path, block_bytes: int = tfrecord.BLOCK_BYTES) -> EventFile:
    """The scalars of an event file, up to its end or to the first damage."""
    reader, parts, damage = _Reader(), [], None
    for block in tfrecord.blocks(path, block_bytes):
        rows, damage = reader.rows(block)
        parts.append(rows)
        if damage:
            break
    if not reader.tags:
        return EventFile({}, damage)
    tags, steps, times, values = map(np.concatenate, zip(*parts, strict=True))
    narrow = np.min_scalar_type(
        len(reader.tags)
    )  # numpy sorts numbers of 16 bits or fewer by their digits
    order = np.argsort(tags.astype(narrow), kind="stable")
    bounds = np.searchsorted(tags[order], np.arange(1, len(reader.tags)))
    spans = zip(reader.tags, np.split(order, bounds), strict=True)
    series = {
        tag: Series(steps[span], values[span], times[span]) for tag, span in spans if len(span)
    }
    return EventFile(series, damage)


class _Rows(NamedTuple):
    """A scalar per row: the number of its tag, its step, its time and its value; arrays of one shape."""

    tags: np.ndarray
    steps: np.ndarray
    times: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class _Place:
    """The bytes of a summary of this length that hold the value; the others, as words of 8, are its form."""

    length: int
    start: int
    end: int
    dtype: str

    @property
    def is_apart(self) -> bool:
        """Whether words can cover all other bytes and leave the value's out."""
        return self.start >= _WORD_BYTES and (
            self.length == self.end or self.length - self.end >= _WORD_BYTES
        )

    @property
    def words(self) -> list[int]:
        """Where the words of the form begin; the last before the value, and before the end, may overlap another."""
        parts = [(0, self.start)] + [(self.end, self.length)] * (self.end < self.length)
        return [
            word
            for a, b in parts
            for word in (*range(a, b - _WORD_BYTES, _WORD_BYTES), b - _WORD_BYTES)
        ]


@dataclass
class _Reader:
    """What is known of a file so far: its tags and their numbers, those of the scalars plugin, the summaries' forms.

    Forms are grouped by where they have the value; among these, a form's bytes tell the tag.
    """

    tags: dict[str, int] = field(default_factory=dict)
    of_plugin: set[str] = field(default_factory=set)
    forms: dict[_Place, dict[bytes, int]] = field(default_factory=dict)

    def rows(self, block: Block) -> tuple[_Rows, Damage | None]:
        """The scalars of a block in their order, and the damage that ends them."""
        rows, starts = _heads(block)
        pending, batch, learned, intact = np.arange(len(starts)), _LEARN, [], len(starts)
        while len(pending := self._recognised(block, rows, starts, pending)):
            for record in pending[:batch].tolist():
                try:
                    learned += self._learned(block, record, int(starts[record]))
                except ValueError:
                    intact = min(intact, record)
            pending, batch = pending[batch:], batch * 4
        damage = (
            block.damage
            if intact == len(starts)
            else block.damage_at(intact, "a record is not an event")
        )
        return _in_order(rows, learned, intact), damage

    def _is_scalar(self, scalar: Scalar) -> bool:
        """Whether it is one by its kind or its plugin, which only the first value of a tag may name."""
        if scalar.plugin == _PLUGIN:
            self.of_plugin.add(scalar.tag)
        return (
            scalar.simple
            or scalar.plugin == _PLUGIN
            or (not scalar.plugin and scalar.tag in self.of_plugin)
        )

    def _recognised(
        self, block: Block, rows: _Rows, starts: np.ndarray, pending: np.ndarray
    ) -> np.ndarray:
        """Fill in the rows of known forms; returns those that are left."""
        lengths = block.ends - starts
        for place, forms in self.forms.items():
            near = pending[lengths[pending] == place.length]
            tags = _matched(block.data, starts[near], place, forms)
            found = near[tags != _NO_TAG]
            rows.tags[found] = tags[tags != _NO_TAG]
            rows.values[found] = _gathered(block.data, starts[found] + place.start, place.dtype)
        return pending[rows.tags[pending] == _NO_TAG]

    def _learned(
        self, block: Block, record: int, start: int
    ) -> list[tuple[int, int, int, float, float]]:
        """Read a record field by field and keep its form; returns its scalars as record, tag, step, time and value."""
        data, end = block.data, int(block.ends[record])
        event = event_proto.event(data, int(block.starts[record]), end)
        found = []
        for scalar in event.scalars:
            if not self._is_scalar(scalar):
                continue
            tag = self.tags.setdefault(scalar.tag, len(self.tags))
            found.append((record, tag, event.step, event.wall_time, scalar.value))
            place = _Place(end - start, scalar.start - start, scalar.end - start, scalar.dtype)
            if event.lone and place.is_apart and event_proto.is_one_summary(data, start, end):
                form = b"".join(
                    data[start + word : start + word + _WORD_BYTES] for word in place.words
                )
                self.forms.setdefault(place, {})[form] = tag
        return found


def _heads(block: Block) -> tuple[_Rows, np.ndarray]:
    """Rows with step and time, and where each record's summary begins; at its end where it has no such head.

    The head that every writer writes is the time as field 1 and, unless it is 0, the step as field 2.
    """
    count, octets = len(block.starts), np.frombuffer(block.data, np.uint8)
    usual = np.flatnonzero(block.ends - block.starts >= _LEAST_BYTES)
    usual = usual[octets[block.starts[usual]] == _TIME_KEY]
    at = block.starts[usual] + 9
    stepped = np.flatnonzero(octets[at] == _STEP_KEY)
    steps, going = np.zeros(len(usual), np.uint64), stepped
    for shift in range(0, 70, 7):
        at[going] += 1
        octet = octets[at[going]]
        steps[going] |= (octet & 127).astype(np.uint64) << np.uint64(shift)
        going = going[octet >= 128]
        if not len(going):
            break
    at[stepped] += 1
    at[going] = block.ends[usual[going]]
    rows = _Rows(
        np.full(count, _NO_TAG), np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
    )
    rows.steps[usual] = steps.view(np.int64)
    rows.times[usual] = _gathered(block.data, block.starts[usual] + 1, "<f8")
    starts = block.ends.copy()
    starts[usual] = at
    return rows, starts


def _matched(data: bytes, starts: np.ndarray, place: _Place, forms: dict[bytes, int]) -> np.ndarray:
    """The tag of the form that each summary has, word for word; _NO_TAG where it has none of them.

    A hash finds the one form that can be the right one.
    """
    known = np.frombuffer(b"".join(forms), "<u8").reshape(len(forms), -1).T
    found = [_gathered(data, starts + word, "<u8") for word in place.words]
    hashes = _hashed(known)
    order = np.argsort(hashes)
    nearest = np.searchsorted(hashes[order], _hashed(found))
    likely = order[np.minimum(nearest, len(order) - 1)]
    same = np.ones(len(starts), bool)
    for form_words, words in zip(known, found, strict=True):
        same &= form_words[likely] == words
    return np.where(same, np.fromiter(forms.values(), np.int64)[likely], _NO_TAG)


def _hashed(columns: Iterable[np.ndarray]) -> np.ndarray:
    """A hash per row of 8-byte words; the multiplier is Fibonacci hashing's, 2**64 / golden ratio."""
    return functools.reduce(
        lambda hashes, words: (hashes ^ words) * np.uint64(0x9E3779B97F4A7C15),
        columns,
        np.uint64(0),
    )


def _gathered(data: bytes, starts: np.ndarray, dtype: str) -> np.ndarray:
    """The numbers whose bytes begin at `starts`."""
    size = np.dtype(dtype).itemsize
    return np.ndarray(max(0, len(data) - size + 1), dtype, data, strides=(1,))[starts]


def _in_order(rows: _Rows, learned: list[tuple[int, int, int, float, float]], intact: int) -> _Rows:
    """The scalars of the records before `intact`, those that were read field by field at their places."""
    kept = np.flatnonzero(rows.tags[:intact] != _NO_TAG)
    learned = [row for row in learned if row[0] < intact]
    if not learned:
        return _Rows(*(column[kept] for column in rows))
    places, *more = map(np.array, zip(*learned, strict=True))
    order = np.argsort(np.concatenate([kept, places]), kind="stable")
    return _Rows(
        *(
            np.concatenate([column[kept], new])[order]
            for column, new in zip(rows, more, strict=True)
        )
    )
