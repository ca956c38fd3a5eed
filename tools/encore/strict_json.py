"""JSON that others wrote: read in bounds, or one ValueError that says what is wrong.

Python's parser accepts what ends in other errors later: NaN, 1e999 as infinity, whole numbers of
any length. Depth ends it in a RecursionError.
"""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from encore import data_file
from encore.errors import DataError, EncoreError

# the largest that are read, indexes of models and vocabularies, have a few dozen MB
_MOST_BYTES = 1 << 28
# an unsigned 64-bit number has twenty
_MOST_DIGITS = 20


def parse(data: bytes | str) -> Any:
    """The value of a JSON text, of UTF-8 if it is bytes. Raises ValueError."""
    try:
        # -sig: editors on Windows begin a file with a byte order mark
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        return json.loads(
            text, parse_int=_whole, parse_float=_finite, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(text: str) -> int:
    digits = len(text.lstrip("-"))
    if digits > _MOST_DIGITS:
        raise ValueError(f"a number of {digits} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:_MOST_DIGITS]} is too large")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")


def read(path: Path, error: type[EncoreError] = DataError) -> Any:
    """The value of a JSON file.

    Raises ValueError for what is none, OSError, and `error` for what may not be opened as data.
    """
    if data_file.check(path, error) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES:,} bytes")
    return parse(path.read_bytes())


def read_object(
    path: Path, error_type: type[EncoreError], hint: str, what: str = ""
) -> dict[str, Any]:
    """A JSON object; whatever else is there raises `error_type`, an unreadable file OSError.

    what: what the file is to the user, such as the option that names it.
    """
    name = f"{what} {path}".lstrip()
    try:
        value = read(path, error_type)
    except FileNotFoundError:
        raise error_type(f"{name} does not exist", hint) from None
    except ValueError as error:
        raise error_type(f"{name} is not JSON: {error}", hint) from None
    if not isinstance(value, dict):
        raise error_type(f"{name} is not a JSON object", hint)
    return value
