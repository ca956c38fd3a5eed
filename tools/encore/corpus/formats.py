"""What an input file is, told from its first bytes and not from its name.

What is read is jsonl, plain or in gzip or zstd, and parquet. Anything else is refused by its name:
its bytes would be a file of broken lines, which --on-error skip would leave out one by one.
"""

import shlex
from pathlib import Path

from encore import data_file
from encore.errors import DataError

JSONL = "jsonl"
PARQUET = "parquet"
CODECS = ("gzip", "zstd")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# enough for the magic of each format; that of tar is the last
BEGINNING_BYTES = 512

_CONVERT = "convert it to jsonl, one JSON object a line, or to parquet"
# pzstd and others begin with a frame that holds no data (source: RFC 8878, 3.1.2)
_SKIPPABLE_FRAMES = [bytes([i]) + b"\x2a\x4d\x18" for i in range(0x50, 0x60)]
# (magic, offset, format, what to do); the commands are followed by the path
_MAGICS = [
    (b"\x1f\x8b", 0, "gzip", "gzip -dk"),
    *((magic, 0, "zstd", "zstd -d") for magic in [b"\x28\xb5\x2f\xfd", *_SKIPPABLE_FRAMES]),
    (b"PAR1", 0, PARQUET, ""),
    (b"\xfd7zXZ\x00", 0, "xz", "xz -dk"),
    (b"BZh", 0, "bzip2", "bzip2 -dk"),
    (b"\x04\x22\x4d\x18", 0, "lz4", "lz4 -d"),
    (b"\x02\x21\x4c\x18", 0, "lz4", "lz4 -d"),
    (b"\x5d\x00\x00", 0, "lzma", "xz --format=lzma -dk"),
    (b"LZIP", 0, "lzip", "lzip -dk"),
    (b"\x1f\x9d", 0, "compress (.Z)", "gzip -dk"),
    (b"\x89LZO", 0, "lzop", "lzop -d"),
    (b"\xff\x06\x00\x00sNaPpY", 0, "snappy", ""),
    (b"PK\x03\x04", 0, "zip", "unzip"),
    (b"PK\x05\x06", 0, "zip", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", 0, "7z", "7z x"),
    (b"Rar!", 0, "rar", "unrar x"),
    (b"ustar", 257, "tar", "tar -xf"),
    (b"PARE", 0, "encrypted parquet", ""),
    (b"ARROW1", 0, "Arrow", ""),
    (b"\xff\xff\xff\xff", 0, "an Arrow stream", ""),
    (b"Obj\x01", 0, "Avro", ""),
    (b"ORC", 0, "ORC", ""),
    (b"\x89HDF", 0, "HDF5", ""),
    (b"SQLite format 3", 0, "SQLite", ""),
    (b"\x93NUMPY", 0, "numpy", ""),
    (b"%PDF", 0, "PDF", ""),
    (b"MMIDIDX", 0, "the index of tokenized data", ""),
    (b"\x00\x00\xfe\xff", 0, "UTF-32", "iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe\x00\x00", 0, "UTF-32", "iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", 0, "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", 0, "UTF-16", "iconv -f UTF-16 -t UTF-8"),
    (b"{\x00", 0, "UTF-16", "iconv -f UTF-16LE -t UTF-8"),
    (b"\x00{", 0, "UTF-16", "iconv -f UTF-16BE -t UTF-8"),
]


def recognise(path: Path) -> str:
    """JSONL, PARQUET, or the codec of compressed jsonl; raises DataError for any other file.

    The text of jsonl is looked at with `check_text`, since it may be compressed.
    """
    data_file.check(path)
    with open(path, "rb") as handle:
        beginning = handle.read(BEGINNING_BYTES)
    name, command = _format(beginning)
    if name == PARQUET:
        # raises the UnicodeEncodeError of pyarrow, which opens no path that is no UTF-8
        str(path).encode()
    if name in (JSONL, PARQUET, *CODECS):
        return name
    raise _refused(path, name, command)


def check_text(beginning: bytes, path: Path, codec: str | None) -> None:
    """Raise DataError where a text that begins so, unpacked from `codec`, cannot be jsonl.

    beginning: BEGINNING_BYTES or more, or the whole text. Blank text is left to others to judge.
    """
    name, command = _format(beginning)
    if name != JSONL:
        if codec is not None:
            raise DataError(
                f"{path} is {name} within {codec}, not jsonl", f"unpack it; then {_CONVERT}"
            )
        raise _refused(path, name, command)
    text = beginning.removeprefix(BYTE_ORDER_MARK)
    first_bytes = {line.lstrip()[:1] for line in text.splitlines()}
    if b"{" in first_bytes or not text.strip():
        return
    if text.lstrip().startswith(b"["):
        raise DataError(
            f"{path} is a JSON array, not jsonl",
            f"write its items as lines: jq -c '.[]' {shlex.quote(str(path))}",
        )
    raise DataError(
        f'{path} is {_other_text(text, path)}, not jsonl: none of its first lines begins with "{{"',
        _CONVERT,
    )


def _format(beginning: bytes) -> tuple[str, str]:
    """The format whose magic it is, and a command that unpacks it; JSONL where none is."""
    for magic, offset, name, command in _MAGICS:
        if beginning[offset:].startswith(magic):
            return name, command
    return JSONL, ""


def _refused(path: Path, name: str, command: str) -> DataError:
    hint = _CONVERT
    if command.startswith("iconv"):
        hint = f"convert it: {command} {shlex.quote(str(path))}"
    elif command:
        hint = f"unpack it: {command} {shlex.quote(str(path))}"
    return DataError(f"{path} is {name}, not jsonl or parquet", hint)


def _other_text(text: bytes, path: Path) -> str:
    try:
        # the end may have cut a character
        lines = text[: max(1, len(text) - 3)].decode().splitlines()
    except UnicodeDecodeError:
        return "binary data"
    if b"\x00" in text:
        return "binary data"
    if path.suffix.lower() in (".csv", ".tsv"):
        return path.suffix[1:].upper()
    if "," in lines[0] or "\t" in lines[0]:
        return "CSV or other text"
    return "other text"
