"""Scalars from TensorBoard's event files, many at a time.

An event is the time, the step and a summary. Summaries of one tag differ in the bytes of the value
alone. So each *form* of a summary is read field by field once; every other event whose summary has
all of that form's bytes is decoded with numpy, thousands at a time.

Text, histograms, images and graphs are skipped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from encore.curves import event_proto, tfrecord
from encore.curves.event_proto import Scalar
from encore.curves.tfrecord import Damage, RecordBlock

# No event with a scalar is shorter. A record of this length has the whole time, and the step's
# varint (at most 10 bytes behind 10 others) cannot reach beyond its end.
_LEAST_BYTES = 20
# protobuf's keys of Event's field 1 (time, 8 bytes) and field 2 (step, a varint)
_TIME_KEY = 0x09
_STEP_KEY = 0x10
_WORD_BYTES = 8
# events that are read field by field before the others are looked at again
_LEARN = 256
_NO_TAG = -1
_PLUGIN = "scalars"


@dataclass(frozen=True)
class Series:
    """A tag's scalars in a file, in the order of writing; arrays of shape [n].

    times_s: seconds since the epoch. values: one that was written as float32 is exactly that
    number.
    """

    steps: np.ndarray
    values: np.ndarray
    times_s: np.ndarray


@dataclass(frozen=True)
class EventFile:
    """The scalars of an event file by tag, and the damage that ended reading, if any."""

    series: dict[str, Series]
    damage: Damage | None


def read(path: Path, block_bytes: int = tfrecord.BLOCK_BYTES) -> EventFile:
    """The scalars of an event file, up to its end or to the first damage."""
    reader = _Reader()
    parts = []
    damage = None
    for block in tfrecord.blocks(path, block_bytes):
        rows, damage = reader.read_block(block)
        parts.append(rows)
        if damage:
            break
    if not reader.tags:
        return EventFile({}, damage)
    tags, steps, times_s, values = map(np.concatenate, zip(*parts, strict=True))
    # numpy sorts integers of at most 16 bits by radix, in linear time
    narrow_type = np.min_scalar_type(len(reader.tags))
    order = np.argsort(tags.astype(narrow_type), kind="stable")
    bounds = np.searchsorted(tags[order], np.arange(1, len(reader.tags)))
    series = {}
    for tag, indices in zip(reader.tags, np.split(order, bounds), strict=True):
        # a tag that was learned from records behind the damage has no scalars
        if len(indices):
            series[tag] = Series(steps[indices], values[indices], times_s[indices])
    return EventFile(series, damage)


class _Rows(NamedTuple):
    """A scalar per row: its tag's number, step, time and value; arrays of one shape."""

    tags: np.ndarray
    steps: np.ndarray
    times_s: np.ndarray
    values: np.ndarray

    def take(self, indices: np.ndarray) -> "_Rows":
        return _Rows(
            self.tags[indices], self.steps[indices], self.times_s[indices], self.values[indices]
        )


class _LearnedRow(NamedTuple):
    """A scalar that was read field by field, and the number of its record in the block."""

    record: int
    tag: int
    step: int
    time_s: float
    value: float


@dataclass(frozen=True)
class _Layout:
    """Where summaries of this length hold their value: in the bytes start to end, as `dtype`.

    All other bytes, as words of 8, are the summary's form.
    """

    length: int
    start: int
    end: int
    dtype: str

    @property
    def has_form(self) -> bool:
        """Whether words can cover all other bytes without touching the value's.

        A part that is shorter than a word cannot be compared: such summaries are all read field
        by field.
        """
        tail_bytes = self.length - self.end
        return self.start >= _WORD_BYTES and (tail_bytes == 0 or tail_bytes >= _WORD_BYTES)

    @property
    def words(self) -> list[int]:
        """Where the form's words begin; the last of each part may overlap the one before it."""
        starts = _word_starts(0, self.start)
        if self.end < self.length:
            starts += _word_starts(self.end, self.length)
        return starts


def _word_starts(start: int, end: int) -> list[int]:
    return [*range(start, end - _WORD_BYTES, _WORD_BYTES), end - _WORD_BYTES]


@dataclass
class _Reader:
    """What is known of a file so far.

    tags: their numbers. plugin_tags: those of the scalars plugin. forms: the tag of each form's
    bytes, by the layout of its summaries.
    """

    tags: dict[str, int] = field(default_factory=dict)
    plugin_tags: set[str] = field(default_factory=set)
    forms: dict[_Layout, dict[bytes, int]] = field(default_factory=dict)

    def read_block(self, block: RecordBlock) -> tuple[_Rows, Damage | None]:
        """The scalars of a block in their order, and the damage that ends them."""
        rows, summary_starts = _read_heads(block)
        learned: list[_LearnedRow] = []
        intact = len(summary_starts)
        batch = _LEARN
        pending = self._decode_known(block, rows, summary_starts, np.arange(intact))
        while len(pending):
            for record in pending[:batch].tolist():
                try:
                    learned += self._learn(block, record, int(summary_starts[record]))
                except ValueError:
                    # the scalars of this and of all later records are dropped below
                    intact = min(intact, record)
            pending = self._decode_known(block, rows, summary_starts, pending[batch:])
            # where forms are not learned, as of histograms, do not match after every few records
            batch *= 4
        damage = block.damage
        if intact < len(summary_starts):
            damage = block.damage_at(intact, "a record is not an event")
        return _merge_rows(rows, learned, intact), damage

    def _is_scalar(self, scalar: Scalar) -> bool:
        """Whether it is one by its kind or by its plugin.

        Writers may name the plugin in a tag's first value alone, as TensorBoard allows.
        """
        if scalar.plugin == _PLUGIN:
            self.plugin_tags.add(scalar.tag)
        if scalar.plugin:
            return scalar.simple or scalar.plugin == _PLUGIN
        return scalar.simple or scalar.tag in self.plugin_tags

    def _decode_known(
        self, block: RecordBlock, rows: _Rows, summary_starts: np.ndarray, pending: np.ndarray
    ) -> np.ndarray:
        """Fill in the rows of summaries of known forms; returns the records that have none."""
        lengths = block.ends - summary_starts
        for layout, forms in self.forms.items():
            candidates = pending[lengths[pending] == layout.length]
            tags = _match_forms(block.data, summary_starts[candidates], layout, forms)
            matches = candidates[tags != _NO_TAG]
            value_starts = summary_starts[matches] + layout.start
            rows.tags[matches] = tags[tags != _NO_TAG]
            rows.values[matches] = _gather(block.data, value_starts, layout.dtype)
        remaining: np.ndarray = pending[rows.tags[pending] == _NO_TAG]
        return remaining

    def _learn(self, block: RecordBlock, record: int, summary_start: int) -> list[_LearnedRow]:
        """Read a record field by field, and remember the form of its summary.

        Raises ValueError where it is not an event.
        """
        data = block.data
        end = int(block.ends[record])
        event = event_proto.event(data, int(block.starts[record]), end)
        learned = []
        for scalar in event.scalars:
            if not self._is_scalar(scalar):
                continue
            tag = self.tags.setdefault(scalar.tag, len(self.tags))
            learned.append(_LearnedRow(record, tag, event.step, event.wall_time, scalar.value))
            layout = _Layout(
                end - summary_start,
                scalar.start - summary_start,
                scalar.end - summary_start,
                scalar.dtype,
            )
            # beside other values or fields, the bytes that tell the tag are not all of the summary
            is_alone = event.lone and event_proto.is_one_summary(data, summary_start, end)
            if is_alone and layout.has_form:
                form = b""
                for word in layout.words:
                    start = summary_start + word
                    form += data[start : start + _WORD_BYTES]
                self.forms.setdefault(layout, {})[form] = tag
        return learned


def _read_heads(block: RecordBlock) -> tuple[_Rows, np.ndarray]:
    """Rows with time and step, and where each record's summary begins.

    The usual head is the time as field 1 and, unless it is 0, the step as field 2. A record without
    this head has its summary at its end: no form matches it there, and it is read field by field.
    """
    count = len(block.starts)
    octets = np.frombuffer(block.data, np.uint8)
    usual = np.flatnonzero(block.ends - block.starts >= _LEAST_BYTES)
    usual = usual[octets[block.starts[usual]] == _TIME_KEY]
    at = block.starts[usual] + 9
    stepped = np.flatnonzero(octets[at] == _STEP_KEY)
    steps = np.zeros(len(usual), np.uint64)
    # decode the varints of all records together, one byte of each at a time
    unfinished = stepped
    for shift in range(0, 70, 7):
        at[unfinished] += 1
        octet = octets[at[unfinished]]
        steps[unfinished] |= (octet & 127).astype(np.uint64) << np.uint64(shift)
        unfinished = unfinished[octet >= 128]
        if not len(unfinished):
            break
    at[stepped] += 1
    # a varint of more than 10 bytes is no step: such a record is read, and refused, field by field
    at[unfinished] = block.ends[usual[unfinished]]
    rows = _Rows(
        np.full(count, _NO_TAG), np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
    )
    # a negative step is written as two's complement of 64 bits
    rows.steps[usual] = steps.view(np.int64)
    rows.times_s[usual] = _gather(block.data, block.starts[usual] + 1, "<f8")
    summary_starts = block.ends.copy()
    summary_starts[usual] = at
    return rows, summary_starts


def _match_forms(
    data: bytes, starts: np.ndarray, layout: _Layout, forms: dict[bytes, int]
) -> np.ndarray:
    """The tag of the form that each summary has; _NO_TAG where it has none of them.

    A hash selects the one form that can match; then all words are compared.
    """
    form_words = np.frombuffer(b"".join(forms), "<u8").reshape(len(forms), -1).T
    words = [_gather(data, starts + word, "<u8") for word in layout.words]
    form_hashes = _hash_words(form_words)
    order = np.argsort(form_hashes)
    nearest = np.searchsorted(form_hashes[order], _hash_words(words))
    candidates = order[np.minimum(nearest, len(order) - 1)]
    matches = np.ones(len(starts), bool)
    for expected, actual in zip(form_words, words, strict=True):
        matches &= expected[candidates] == actual
    form_tags = np.fromiter(forms.values(), np.int64)
    return np.where(matches, form_tags[candidates], _NO_TAG)


def _hash_words(columns: Iterable[np.ndarray]) -> np.ndarray:
    """A hash of each row of 8-byte words."""
    hashes: np.ndarray = np.zeros(1, np.uint64)
    for words in columns:
        # Fibonacci hashing's multiplier, 2**64 / golden ratio
        hashes = (hashes ^ words) * np.uint64(0x9E3779B97F4A7C15)
    return hashes


def _gather(data: bytes, starts: np.ndarray, dtype: str) -> np.ndarray:
    """The numbers whose bytes begin at `starts`, at any alignment."""
    size = np.dtype(dtype).itemsize
    overlapping: np.ndarray = np.ndarray(max(0, len(data) - size + 1), dtype, data, strides=(1,))
    numbers: np.ndarray = overlapping[starts]
    return numbers


def _merge_rows(rows: _Rows, learned: list[_LearnedRow], intact: int) -> _Rows:
    """The scalars of the records before `intact` in their order, decoded or read field by field."""
    decoded = np.flatnonzero(rows.tags[:intact] != _NO_TAG)
    learned = [row for row in learned if row.record < intact]
    if not learned:
        return rows.take(decoded)
    records, tags, steps, times_s, values = zip(*learned, strict=True)
    merged = _Rows(
        np.concatenate([rows.tags[decoded], np.array(tags)]),
        np.concatenate([rows.steps[decoded], np.array(steps)]),
        np.concatenate([rows.times_s[decoded], np.array(times_s)]),
        np.concatenate([rows.values[decoded], np.array(values)]),
    )
    # stable: a record with several values keeps their order
    return merged.take(np.argsort(np.concatenate([decoded, np.array(records)]), kind="stable"))
