"""The run-name grammar: `146m14b400m` is 146M parameters, 14B training tokens, 400M unique tokens.

A name is {parameters}{tokens}[{unique}][suffix]; an amount `xby` is x.y billion (`1b9`, `1b25`), `400m` is 400 million,
`100k` is 100 thousand. The convention is ambiguous (`1b12b8100m` is 1.1B, 2.8B, 100M), so every split is considered:
the parameters have to be a label of registry/models.yml and unique ≤ tokens; if several readings remain, the triples of
the known runs decide, else the user does. Without a unique amount (`4b284bc4dedup`) all tokens are taken to be unique.
A known run's own triple outranks its name: the name of an optimal-allocation run (`8b7178b25bopt`) tells what it is
compared with, not what it is.

The suffix says what is trained on, in this order: `c4`, `oscar`; a code mix `90c4py` or `c4py10` (90% C4, 10% Python);
`dedup`, `perplexity25`, …; `v2`; `opt`, `subopt`, `opt2`; `seed3`.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from encore.errors import UnknownNameError, UsageError

_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9}
# canonical amounts only: no leading zero, no trailing zero after the unit, below 1000 of the unit
_AMOUNT = r"[1-9][0-9]{0,2}[kmb](?:[1-9]|[0-9][1-9])?"
_FORM = "write parameters, tokens, unique tokens, as in 146m14b400m"
_SUFFIX = (
    r"(?:(?P<share>[1-9][0-9])?(?P<corpus>{corpora})(?P<mixed>py(?P<mixed_share>[1-9][0-9])?)?)?(?P<variant>{variants})?"
    r"(?P<version>v[0-9]+)?(?P<optimum>(?:sub)?opt(?:v?[0-9]+)?)?(?:seed(?P<seed>[0-9]+))?"
)


@dataclass(frozen=True)
class Suffix:
    """What stands behind the amounts; absent parts are None."""

    corpus: str | None = None
    corpus_share: int | None = None  # percent of `corpus` in a mix with Python, else None
    variant: str | None = None
    version: str | None = None
    optimum: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class RunName:
    """A name taken apart; `label` is the parameters' amount as written, `parameters` what the label stands for."""

    name: str
    label: str
    parameters: int
    tokens: int
    unique_tokens: int
    unique_label: str
    suffix: Suffix


Triple = tuple[int, int, int]  # parameters, tokens, unique tokens


@dataclass(frozen=True)
class Vocabulary:
    """What a name can be made of: parameter labels with their counts, corpora, their variants; and the known runs."""

    labels: Mapping[str, int]
    known: Mapping[str, Triple]
    corpora: Iterable[str] = ()
    variants: Iterable[str] = ()

    @functools.cached_property
    def suffix(self) -> re.Pattern[str]:
        """What a suffix looks like; longer words first, so that `dedup25` is not `dedup` and a rest."""
        alternatives = {"corpora": self.corpora, "variants": self.variants}
        return re.compile(
            _SUFFIX.format(
                **{
                    k: "|".join(map(re.escape, sorted(v, key=len, reverse=True))) or "(?!)"
                    for k, v in alternatives.items()
                }
            )
        )


@dataclass(frozen=True)
class Choice:
    """What the user said about an ambiguous name, as amounts (`1b1`); None leaves a part open."""

    params: str | None = None
    tokens: str | None = None
    unique: str | None = None


def amount(text: str) -> int:
    """`1b25` → 1_250_000_000; raises UsageError on anything that is not an amount."""
    match = re.fullmatch(r"([0-9]+)([kmb])([0-9]*)", text)
    if not match:
        raise UsageError(f"{text!r} is not an amount", "write 400m, 14b or 1b9 (1.9 billion)")
    whole, unit, fraction = match.groups()
    return int(whole + fraction) * _SCALES[unit] // 10 ** len(fraction)


def amount_label(count: int) -> str:
    """1_250_000_000 → `1b25`: the amount that stands for a count."""
    for unit, scale in sorted(_SCALES.items(), key=lambda item: -item[1]):
        if count >= scale:
            whole, rest = divmod(count, scale)
            fraction = f"{rest / scale:.6f}"[2:].rstrip("0")
            return f"{whole}{unit}{fraction}"
    raise UsageError(f"{count} is too small for a name", "amounts start at 1k")


def parse(name: str, words: Vocabulary, choice: Choice | None = None) -> RunName:
    """Read a run's name.

    Raises UsageError for a name that has no reading or several (it lists them and how to choose), for an unknown
    label, and for unique > tokens.
    """
    if not re.fullmatch(r"[a-z0-9]{1,80}", name):
        raise UsageError(f"{name!r} is not a run's name", _FORM)
    readings = _possible(name, words, choice or Choice())
    if len(readings) > 1:
        triples = set(words.known.values())
        readings = [
            r for r in readings if (r.parameters, r.tokens, r.unique_tokens) in triples
        ] or readings
    if len(readings) > 1:
        listed = " or ".join(
            f"{r.label} / {r.tokens:,} tokens / {r.unique_tokens:,} unique" for r in readings
        )
        first = readings[0]
        raise UsageError(
            f"{name!r} has {len(readings)} readings: {listed}",
            f"say which, for example --params {first.label} --tokens {amount_label(first.tokens)}"
            f" --unique {amount_label(first.unique_tokens)}",
        )
    if name in words.known and choice in (None, Choice()):
        parameters, tokens, unique_tokens = words.known[name]
        return replace(
            readings[0], parameters=parameters, tokens=tokens, unique_tokens=unique_tokens
        )
    return readings[0]


def _possible(name: str, words: Vocabulary, choice: Choice) -> list[RunName]:
    readings = [reading for reading in _splits(name, words) if _chosen(reading, choice)]
    if not readings:
        raise UsageError(f"{name!r} has no reading as a run's name", _FORM)
    labelled = [reading for reading in readings if reading.label in words.labels]
    if not labelled:
        raise UnknownNameError("model label", readings[0].label, words.labels)
    possible = [reading for reading in labelled if reading.unique_tokens <= reading.tokens]
    if not possible:
        worst = labelled[0]
        raise UsageError(
            f"{name!r}: {worst.unique_tokens:,} unique tokens are more than the {worst.tokens:,} trained on",
            "write parameters, tokens, unique tokens, in this order",
        )
    # a reading that states its unique tokens beats one that leaves them out
    return [reading for reading in possible if reading.unique_label] or possible


def _splits(name: str, words: Vocabulary) -> list[RunName]:
    """Every reading of `name` in canonical amounts and a known suffix."""
    found = []
    for label, rest in _heads(name):
        for tokens_label, tail in _heads(rest):
            for unique_label, suffix_text in [("", tail), *_heads(tail)]:
                suffix = _suffix(suffix_text, words)
                if suffix is None or (not unique_label and not suffix_text):
                    continue
                tokens = amount(tokens_label)
                unique = amount(unique_label) if unique_label else tokens
                found.append(
                    RunName(
                        name,
                        label,
                        words.labels.get(label, 0),
                        tokens,
                        unique,
                        unique_label,
                        suffix,
                    )
                )
    return found


def _heads(text: str) -> list[tuple[str, str]]:
    """The amounts that `text` can begin with, each with what is left."""
    cuts = (text[:end] for end in range(2, min(len(text), 6) + 1))
    return [(head, text[len(head) :]) for head in cuts if re.fullmatch(_AMOUNT, head)]


def _suffix(text: str, words: Vocabulary) -> Suffix | None:
    match = words.suffix.fullmatch(text)
    if not match:
        return None
    share, mixed, mixed_share = match["share"], match["mixed"], match["mixed_share"]
    if bool(mixed) != bool(share or mixed_share) or (share and mixed_share):
        return None
    percent = int(share) if share else 100 - int(mixed_share) if mixed_share else None
    seed = int(match["seed"]) if match["seed"] else None
    return Suffix(
        match["corpus"], percent, match["variant"], match["version"], match["optimum"], seed
    )


def _chosen(reading: RunName, choice: Choice) -> bool:
    return (
        (choice.params is None or reading.label == choice.params)
        and (choice.tokens is None or reading.tokens == amount(choice.tokens))
        and (choice.unique is None or reading.unique_tokens == amount(choice.unique))
    )
