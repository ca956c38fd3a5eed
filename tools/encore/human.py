"""Amounts, sizes, times and tables as people write and read them."""

import argparse
import re
from collections.abc import Iterable, Sequence


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Aligned columns, two spaces apart, no trailing blanks."""
    cells = [
        [str(cell) for cell in row]
        for row in ([header] if header else []) + [list(row) for row in rows]
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def amount(text: str) -> int:
    """A count as people write it: 1900000000, 1_900_000_000, 1.9e9, 1.9B, 400M, 12k (powers of 1000)."""
    match = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][0-9]+)?)([kKmMbBgGtT]?)", text.strip())
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a count; write 1.9B, 400M, 12k or a plain number"
        )
    scale = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}[match[2].lower()]
    return round(float(match[1].replace("_", "")) * scale)


def interval(text: str) -> float:
    """A time as people write it, in seconds: 30s, 10m, 1.5h, 2d; at least a second."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text.strip())
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if seconds < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time of a second or more; write 30s, 10m or 1h"
        )
    return seconds


def byte_size(count: float) -> str:
    """Bytes for people, in powers of 1024: 5.7 MiB, 1.9 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:,.3g} TiB"


def size(text: str) -> int:
    """Bytes as people write them: 4GiB, 500MiB, 1.5TiB (powers of 1024), 5GB (of 1000), or a plain number."""
    match = re.fullmatch(
        r"([0-9][0-9_]*(?:\.[0-9]+)?) ?(?:([KMGT])(i?)B|B?)", text.strip(), re.IGNORECASE
    )
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; write 4GiB, 500MB or a plain number of bytes"
        )
    power = " KMGT".index(match[2].upper()) if match[2] else 0
    return round(float(match[1].replace("_", "")) * (1024 if match[3] else 1000) ** power)


def duration(seconds: float) -> str:
    """A time for people: 63 s, 12 min, 21.3 h."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
