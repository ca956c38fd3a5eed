"""The run-name grammar: 146m14b400m is 146M parameters, 14B training tokens, 400M unique tokens.

A name is {parameters}{tokens}[{unique}][suffix]. An amount is `400m` (400 million), `100k`
(100 thousand) or `1b9`, `1b25` (1.9 and 1.25 billion). Names are ambiguous: 1b12b8100m is 1.1B,
2.8B, 100M, but its characters split in other ways too. So every split is a reading, provided that
its parameters are a label of registry/models.yml and its unique tokens are no more than its tokens.
Where several remain, those whose numbers are those of a known run win, else the user chooses.
Without a unique amount (4b284bc4dedup) all tokens are taken to be unique.

A known run's own numbers outrank its name: the name of an optimal-allocation run (8b7178b25bopt)
states the run that it is compared with.

The suffix names what is trained on, in this order: `c4`, `oscar`; a code mix `90c4py` or `c4py10`
(90% C4, 10% Python); `dedup`, `perplexity25`, …; `v2`; `opt`, `subopt`, `opt2`; `seed3`. Versions
and optimality tell runs apart but change nothing in a plan.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from encore.errors import UnknownNameError, UsageError, shortened

_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9}
# Canonical amounts only, for fewer readings: no leading zero, no trailing zero after the unit,
# below 1000 of the unit.
_AMOUNT = re.compile(r"[1-9][0-9]{0,2}[kmb](?:[1-9]|[0-9][1-9])?")
_LONGEST_AMOUNT = len("999b99")
_FORM = "write parameters, tokens, unique tokens, for example 146m14b400m"
_SUFFIX = (
    r"(?:(?P<share>[1-9][0-9])?(?P<corpus>{corpora})(?P<mixed>py(?P<mixed_share>[1-9][0-9])?)?)?"
    r"(?P<variant>{variants})?"
    r"(?:v[0-9]+)?(?:(?:sub)?opt(?:v?[0-9]+)?)?(?:seed(?P<seed>[0-9]+))?"
)

Triple = tuple[int, int, int]  # parameters, tokens, unique tokens


@dataclass(frozen=True)
class Suffix:
    """What follows the amounts; absent parts are None.

    corpus_share: percent of `corpus` in a mix with Python; None where nothing is mixed in.
    """

    corpus: str | None = None
    corpus_share: int | None = None
    variant: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class RunName:
    """A reading of a name: labels are amounts as written, `parameters` what the label stands for.

    unique_label: empty where the name states no unique tokens.
    """

    name: str
    label: str
    parameters: int
    tokens: int
    unique_tokens: int
    unique_label: str
    suffix: Suffix

    @property
    def triple(self) -> Triple:
        """Parameters, tokens, unique tokens."""
        return self.parameters, self.tokens, self.unique_tokens


@dataclass(frozen=True)
class Vocabulary:
    """What names consist of: parameter labels with their counts, corpora, variants; known runs."""

    labels: Mapping[str, int]
    known: Mapping[str, Triple]
    corpora: Iterable[str] = ()
    variants: Iterable[str] = ()

    @functools.cached_property
    def suffix(self) -> re.Pattern[str]:
        """The form of a suffix."""
        return re.compile(
            _SUFFIX.format(corpora=_any_of(self.corpora), variants=_any_of(self.variants))
        )


def _any_of(words: Iterable[str]) -> str:
    """A pattern that matches any of the words; without words, nothing."""
    # longest first, so that dedup25 is not read as dedup and a rest
    longest_first = sorted(words, key=len, reverse=True)
    return "|".join(map(re.escape, longest_first)) or "(?!)"


@dataclass(frozen=True)
class Choice:
    """How the user reads an ambiguous name, as amounts (`1b1`); None leaves a part open."""

    params: str | None = None
    tokens: str | None = None
    unique: str | None = None

    def __str__(self) -> str:
        parts = []
        for part, text in asdict(self).items():
            if text is not None:
                parts.append(f"--{part} {shortened(text)!r}")
        return " ".join(parts)

    def allows(self, reading: RunName) -> bool:
        """Whether a reading agrees with every part that was chosen."""
        if self.params is not None and reading.label != self.params:
            return False
        if self.tokens is not None and reading.tokens != amount(self.tokens):
            return False
        return self.unique is None or reading.unique_tokens == amount(self.unique)


def amount(text: str) -> int:
    """`1b25` → 1_250_000_000; raises UsageError for anything that is not an amount."""
    match = re.fullmatch(r"([0-9]{1,6})([kmb])([0-9]{0,9})", text)
    if not match:
        raise UsageError(
            f"{shortened(text)!r} is not an amount", "write 400m, 14b or 1b9 (1.9 billion)"
        )
    whole, unit, fraction = match.groups()
    denominator: int = 10 ** len(fraction)
    return int(whole + fraction) * _SCALES[unit] // denominator


def amount_label(count: int) -> str:
    """1_250_000_000 → `1b25`: the amount that stands for a count."""
    for unit, scale in reversed(_SCALES.items()):
        if count >= scale:
            whole, rest = divmod(count, scale)
            fraction = f"{rest / scale:.6f}"[2:].rstrip("0")
            return f"{whole}{unit}{fraction}"
    raise UsageError(f"{count} is too small for a name", "amounts start at 1k")


def parse(name: str, words: Vocabulary, choice: Choice | None = None) -> RunName:
    """Read a run's name.

    Raises UsageError for a name without a reading, with several (it lists them and how to choose),
    with an unknown label, or with more unique than training tokens.
    """
    choice = choice or Choice()
    if not re.fullmatch(r"[a-z0-9]{1,80}", name):
        raise UsageError(f"{shortened(name)!r} is not a run's name", _FORM)
    readings = _possible_readings(name, words, choice)
    if len(readings) > 1:
        triples = set(words.known.values())
        readings = [reading for reading in readings if reading.triple in triples] or readings
    if len(readings) > 1:
        raise _ambiguous(name, readings)
    if name in words.known and choice == Choice():
        parameters, tokens, unique_tokens = words.known[name]
        return replace(
            readings[0], parameters=parameters, tokens=tokens, unique_tokens=unique_tokens
        )
    return readings[0]


def _ambiguous(name: str, readings: list[RunName]) -> UsageError:
    descriptions = []
    for reading in readings:
        descriptions.append(
            f"{reading.label} / {reading.tokens:,} tokens / {reading.unique_tokens:,} unique"
        )
    first = readings[0]
    return UsageError(
        f"{name!r} has {len(readings)} readings: {' or '.join(descriptions)}",
        f"choose one, for example with --params {first.label}"
        f" --tokens {amount_label(first.tokens)} --unique {amount_label(first.unique_tokens)}",
    )


def _possible_readings(name: str, words: Vocabulary, choice: Choice) -> list[RunName]:
    """The readings that are allowed and make sense; raises UsageError where none is left."""
    splits = _splits(name, words)
    readings = [reading for reading in splits if choice.allows(reading)]
    if splits and not readings:
        raise UsageError(
            f"{shortened(name)!r} has no reading with {choice}", "choose one that the name has"
        )
    if not readings:
        raise UsageError(f"{name!r} has no reading as a run's name", _FORM)
    labelled = [reading for reading in readings if reading.label in words.labels]
    if not labelled:
        label = readings[0].label
        raise UnknownNameError("model label", label, words.labels, "registry/models.yml")
    possible = [reading for reading in labelled if reading.unique_tokens <= reading.tokens]
    if not possible:
        first = labelled[0]
        raise UsageError(
            f"{name!r}: {first.unique_tokens:,} unique tokens are more than the"
            f" {first.tokens:,} trained on",
            "write parameters, tokens, unique tokens, in this order",
        )
    # A reading that states its unique tokens beats one that leaves them out.
    return [reading for reading in possible if reading.unique_label] or possible


def _splits(name: str, words: Vocabulary) -> list[RunName]:
    """Every way to read `name` as canonical amounts and a known suffix."""
    readings = []
    for label, after_label in _leading_amounts(name):
        for tokens_label, after_tokens in _leading_amounts(after_label):
            for unique_label, rest in [("", after_tokens), *_leading_amounts(after_tokens)]:
                suffix = _suffix(rest, words)
                # Only a name with a suffix may leave out its unique tokens.
                if suffix is None or not (unique_label or rest):
                    continue
                reading = RunName(
                    name=name,
                    label=label,
                    parameters=words.labels.get(label, 0),
                    tokens=amount(tokens_label),
                    unique_tokens=amount(unique_label or tokens_label),
                    unique_label=unique_label,
                    suffix=suffix,
                )
                readings.append(reading)
    return readings


def _leading_amounts(text: str) -> list[tuple[str, str]]:
    """The amounts that `text` can begin with, each with the rest of it."""
    amounts = []
    for end in range(1, min(len(text), _LONGEST_AMOUNT) + 1):
        if _AMOUNT.fullmatch(text[:end]):
            amounts.append((text[:end], text[end:]))
    return amounts


def _suffix(text: str, words: Vocabulary) -> Suffix | None:
    """A suffix; None where the text is not one."""
    match = words.suffix.fullmatch(text)
    if not match:
        return None
    share = match["share"]
    mixed_share = match["mixed_share"]
    percent = None
    if match["mixed"]:
        # 90c4py or c4py10: a mix states one of its two shares
        if bool(share) == bool(mixed_share):
            return None
        percent = int(share) if share else 100 - int(mixed_share)
    elif share:
        return None
    seed = int(match["seed"]) if match["seed"] else None
    return Suffix(match["corpus"], percent, match["variant"], seed)
