"""What all commands share: the parser made from a command's docstring, error → message + exit code, tables.

Exit codes: 0 done, 1 failed (or --check found drift), 2 usage. Data goes to stdout, talk to stderr.
"""

import argparse
import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from encore import __version__
from encore.errors import EncoreError


def parser(docstring: str | None) -> argparse.ArgumentParser:
    """An ArgumentParser whose --help is the command's own docstring: what it does, then runnable examples."""
    built = argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    built.add_argument("--version", action="version", version=f"encore {__version__}")
    return built


def say(text: str) -> None:
    """Talk: a line on stderr."""
    print(text, file=sys.stderr)


def warn(text: str) -> None:
    """A line on stderr that the user should read."""
    say(f"warning: {text}")


def print_json(value: Any) -> None:
    """Data for a script: one JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Aligned columns, two spaces apart, no trailing blanks."""
    cells = [[str(cell) for cell in row] for row in ([header] if header else []) + [list(row) for row in rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def amount(text: str) -> int:
    """A count as people write it: 1900000000, 1_900_000_000, 1.9e9, 1.9B, 400M, 12k (powers of 1000)."""
    match = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][0-9]+)?)([kKmMbBgGtT]?)", text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; write 1.9B, 400M, 12k or a plain number")
    scale = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}[match[2].lower()]
    return round(float(match[1].replace("_", "")) * scale)


def interval(text: str) -> float:
    """A time as people write it, in seconds: 30s, 10m, 1.5h, 2d; at least a second."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text.strip())
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time of a second or more; write 30s, 10m or 1h")
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
    match = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?) ?(?:([KMGT])(i?)B|B?)", text.strip(), re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 4GiB, 500MB or a plain number of bytes")
    power = " KMGT".index(match[2].upper()) if match[2] else 0
    return round(float(match[1].replace("_", "")) * (1024 if match[3] else 1000) ** power)


def duration(seconds: float) -> str:
    """A time for people: 63 s, 12 min, 21.3 h."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def run(main: Callable[[], int]) -> None:
    """Run a command's main: a user error becomes one line and an exit code, anything else stays a traceback."""
    try:
        code = main()
        sys.stdout.flush()
    except EncoreError as error:
        say(f"error: {error}" + (f"; {error.hint}" if error.hint else ""))
        code = error.exit_code
    except BrokenPipeError:  # the reader (head, less) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if error.errno not in _MACHINE_ERRORS:
            raise
        where = f": {error.filename}" if error.filename else ""
        say(f"error: {error.strerror}{where}; {_MACHINE_ERRORS[error.errno]}")
        code = 1
    except KeyboardInterrupt:
        say("interrupted")
        code = 130
    sys.exit(code)


_MACHINE_ERRORS = {
    errno.ENOSPC: "free disk space and run the same command again",
    errno.EDQUOT: "the quota is used up; free space or inodes and run the same command again",
    errno.EACCES: "check the permissions",
    errno.EROFS: "choose a writable folder",
    errno.ENOENT: "check the path",
    errno.EISDIR: "a file is needed, this is a folder",
    errno.ENOTDIR: "a folder is needed, this is a file",
}
