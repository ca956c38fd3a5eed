"""Bad inputs of tools/bins.py."""

import json
import shutil
from pathlib import Path

from helpers.bad_inputs import INPUT, INTEGER, NOTHING, OUTPUT, POINTER, Table, row, spoiled
from helpers.trainer_lines import TINY

_PAIR = TINY / "data" / "tiny_text_document"


def prepare(folder: Path) -> None:
    """A pair, its parts, and what may stand in the place of each of their files."""
    for name in ("pair", "whole"):
        for suffix in (".bin", ".idx"):
            shutil.copy(f"{_PAIR}{suffix}", folder / f"{name}{suffix}")
    for suffix in (".bin", ".idx"):
        good = _PAIR.with_suffix(suffix).read_bytes()
        other = ".idx" if suffix == ".bin" else ".bin"
        for name, data in spoiled(good).items():
            stem = f"{suffix[1:]}-{name.removesuffix('.json')}"
            (folder / f"{stem}{suffix}").write_bytes(data)
            shutil.copy(f"{_PAIR}{other}", folder / f"{stem}{other}")
    index = _PAIR.with_suffix(".idx").read_bytes()
    headers = {
        "version": index[:9] + b"\2" + index[10:],
        "dtype": index[:17] + b"\x63" + index[18:],
        "many": index[:18] + b"\xff" * 8 + index[26:],
        "documents": index[:26] + b"\xff" * 8 + index[34:],
    }
    for name, data in headers.items():
        (folder / f"idx-{name}.idx").write_bytes(data)
        shutil.copy(f"{_PAIR}.bin", folder / f"idx-{name}.bin")
    data = _PAIR.with_suffix(".bin").read_bytes()
    for name in ("gap", "lying", "listless", "pathful", "deepened"):
        shutil.copy(f"{_PAIR}.idx", folder / f"{name}.idx")
    for part, chunk in (("aa", data[:1000]), ("ac", data[1000:])):
        (folder / f"gap.bin.{part}").write_bytes(chunk)
    for name in ("lying", "listless", "pathful", "deepened"):
        (folder / f"{name}.bin.aa").write_bytes(data[:1000])
        (folder / f"{name}.bin.ab").write_bytes(data[1000:])
    part = {"name": "../../pair.bin", "bytes": 1000, "xxh3_128": "0" * 32}
    (folder / "pathful.parts.json").write_text(json.dumps({"parts": [part]}))
    (folder / "lying.parts.json").write_text(json.dumps({"parts": [{"name": 1, "bytes": "x"}]}))
    (folder / "listless.parts.json").write_text("[]")
    (folder / "deepened.parts.json").write_bytes(spoiled(b"")["deep.json"])
    (folder / "folder.bin").mkdir()
    (folder / "folder.idx").mkdir()
    for name in ("no-merges", "noise-tokenizer", "pointer-tokenizer", "deep-tokenizer"):
        (folder / name).mkdir()
    shutil.copy(TINY / "vocab.json", folder / "no-merges")
    (folder / "noise-tokenizer" / "tokenizer.json").write_bytes(spoiled(b"")["noise"])
    (folder / "pointer-tokenizer" / "tokenizer.json").write_bytes(POINTER)
    (folder / "deep-tokenizer" / "tokenizer.json").write_bytes(spoiled(b"")["deep.json"])
    shutil.copytree(TINY, folder / "gpt2", ignore=shutil.ignore_patterns("tp*", "data"))
    (folder / "empty-folder").mkdir()


_BAD_INDEX = (
    *("idx-empty-file", "idx-noise", "idx-pointer", "idx-deep", "idx-half", "idx-longer"),
    *("idx-version", "idx-dtype", "idx-many", "idx-documents", "folder", "idx-list"),
)
_PREFIX = INPUT.also(1, *_BAD_INDEX)
_TOKENIZER = INPUT.but("user").also(
    1, "empty-folder", "no-merges", "noise-tokenizer", "pointer-tokenizer", "deep-tokenizer"
)

TABLE = Table(
    tool="bins",
    prepare=prepare,
    lines={
        "split": "split pair --parts 2",
        "cat": "cat gap",
        "verify": "verify pair",
        "merge": "merge pair whole --output-prefix both",
        "info": "info pair",
        "peek": "peek pair 0",
    },
    kinds={
        "prefix": _PREFIX,
        "prefixes": _PREFIX,
        "cat prefix": INPUT,
        "split prefix": INPUT.also(1, "folder"),
        "verify prefix": NOTHING,
        "--output-prefix": OUTPUT.but("loop"),
        "--tokenizer": _TOKENIZER,
        "number": INTEGER.also(2, "400"),
    },
    rows=(
        row("", 2, "COMMAND", "split"),
        row("no-such-command", 2, "no-such-command"),
        row("split pair", 2, "--parts"),
        row("split pair --parts 2 --size 1MB", 2, "--size"),
        row("split pair --parts 1000000000", 2, "1000000000", "parts"),
        row("split missing.bin --parts 2", 1, "missing"),
        row("cat gap", 1, "gap.bin.ab"),
        row("cat lying", 1, "lying.parts.json"),
        row("cat listless", 1, "listless.parts.json"),
        row("cat pathful", 1, "pathful.parts.json"),
        row("cat deepened", 1, "deepened.parts.json"),
        row("merge pair --output-prefix pair", 2, "pair"),
        row("merge pair missing --output-prefix both", 1, "missing"),
        row("peek pair -1", 2, "-1"),
    ),
)
