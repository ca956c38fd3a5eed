"""Amounts, sizes, times and tables as people write and read them."""

import argparse
import contextlib
import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, DecimalException
from pathlib import Path

from encore.errors import shortened

_AMOUNT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][0-9]+)?)([kKmMbBgGtT]?)")
_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_SIZE = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?) ?(?:([KMGT])(i?)B|B?)", re.IGNORECASE)
_INTERVAL = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_INTEGER = re.compile(r"[+-]?[0-9][0-9_]*")
# what a file, numpy and torch hold as an integer
_LARGEST = 2**63 - 1
# a timer takes no more
_LONGEST_S = 2**31
# What moves a terminal's cursor, colours it or turns text around (C0, C1, line separators and
# bidirectional controls), and lone surrogates; tab and line feed are text.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text from outside (names, tags, a server's words) as a terminal may show it.

    Control characters become \\u001b and the like, which JSON reads as the same characters.
    """
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Aligned columns, two spaces apart, no trailing blanks; a cell is one line."""
    lines = []
    for row in rows:
        lines.append([printable(str(cell)).replace("\n", "\\n") for cell in row])
    if header:
        lines.insert(0, list(header))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = []
    for line in lines:
        cells = map(str.ljust, line, widths)
        padded.append("  ".join(cells).rstrip())
    return "\n".join(padded)


def amount(text: str) -> int:
    """A count: 1900000000, 1_900_000_000, 1.9e9, 1.9B, 400M, 12k (powers of 1000)."""
    match = _AMOUNT.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(
            f"{shortened(text)!r} is not a count; write 1.9B, 400M, 12k or a plain number"
        )
    return _bounded(match[1], _THOUSANDS[match[2].lower()], text)


def count(text: str) -> int:
    """An amount of at least one."""
    value = amount(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 1")
    return value


def integer(text: str) -> int:
    """A whole number, written with the digits 0 to 9."""
    if not _INTEGER.fullmatch(text.strip()):
        raise argparse.ArgumentTypeError(f"{shortened(text)!r} is not a whole number")
    return _bounded(text.strip(), 1, text)


def _bounded(digits: str, unit: int, text: str) -> int:
    # a float would lose digits above 2^53, and end in OverflowError above 1e308
    try:
        count = Decimal(digits.replace("_", "")) * unit
    except DecimalException:  # an exponent of twenty digits
        count = Decimal("Infinity")
    if abs(count) > _LARGEST:
        raise argparse.ArgumentTypeError(f"{shortened(text)!r} is more than {_LARGEST:,}")
    return round(count)


def path(text: str) -> Path:
    """A path, ~ and ~user replaced as a shell does; it leaves them in --out=~/x."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; write . for this folder")
    # Path drops the ./ of ./~x
    if not text.startswith("~"):
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: there is no such user; write ./{text} for a name of that kind"
        ) from None


def name(text: str) -> str:
    """A name that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name")
    return text


def number(text: str) -> float:
    """A number, finite and not negative: NaN would pass every comparison that should stop it."""
    value = math.nan
    # float() reads the digits of every script
    if text.isascii():
        with contextlib.suppress(ValueError):
            value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{shortened(text)!r} is not a number of 0 or more")
    return value


def interval(text: str) -> float:
    """A time in seconds: 30s, 10m, 1.5h, 2d; at least one second."""
    match = _INTERVAL.fullmatch(text.strip())
    seconds = 0.0
    if match:
        seconds = float(match[1]) * _SECONDS[match[2]]
    if not 1 <= seconds <= _LONGEST_S:
        raise argparse.ArgumentTypeError(
            f"{shortened(text)!r} is not a time from a second to some years; write 30s, 10m or 1h"
        )
    return seconds


def size(text: str) -> int:
    """Bytes: 4GiB, 500MiB, 1.5TiB (powers of 1024), 5GB (powers of 1000), or a plain number."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(
            f"{shortened(text)!r} is not a size; write 4GiB, 500MB or a plain number of bytes"
        )
    base = 1024 if match[3] else 1000
    power = " KMGT".index((match[2] or " ").upper())
    return _bounded(match[1], base**power, text)


def byte_size(count: float) -> str:
    """Bytes in powers of 1024: 5.7 MiB, 1.9 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.3g} TiB"


def duration(seconds: float) -> str:
    """A time: 63 s, 12 min, 21.3 h."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"
