"""Bad inputs of tools/prepare_corpus.py."""

import gzip
import shutil
from pathlib import Path

from helpers.bad_inputs import CHOICE, COUNT, INPUT, NAME, NUMBER, OUTPUT_FILE, Table, row, spoiled
from helpers.trainer_lines import TINY

_TEXT = b'{"text": "a b c"}\n{"text": "d"}\n'
_LINES = {
    "no-text": b'{"txt": "a"}\n',
    "number": b'{"text": 1}\n',
    "null": b'{"text": null}\n',
    "array": b"[1]\n",
    "open": b'{"text": "a"\n',
    "two": b'{"text": "a"} {"text": "b"}\n',
    "surrogate": b'{"text": "\\ud800"}\n',
    "latin1": b'{"text": "caf\xe9"}\n',
    "utf16": '{"text": "a"}\n'.encode("utf-16"),
    "nan": b"nan\n",
    "nothing": b"",
    "blank": b"\n\n",
}


def prepare(folder: Path) -> None:
    """Text, a tokenizer, and files that are no text under each extension."""
    (folder / "text.jsonl").write_bytes(_TEXT)
    for name, data in _LINES.items():
        (folder / f"{name}.jsonl").write_bytes(_TEXT * bool(data.strip()) + data)
    packed = gzip.compress(_TEXT * 99)
    for suffix in (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"):
        for name, data in spoiled(packed if suffix == ".jsonl.gz" else b"").items():
            (folder / f"{name.split('.')[0]}{suffix}").write_bytes(data)
    (folder / "gpt2").mkdir()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(TINY / name, folder / "gpt2")
    (folder / "empty-folder").mkdir()
    (folder / "folder.jsonl").mkdir()
    for kind, data in spoiled(b"").items():
        (folder / f"tokenizer-{kind}").mkdir()
        (folder / f"tokenizer-{kind}" / "tokenizer.json").write_bytes(data)


_KINDS = ("empty-file", "noise", "pointer", "deep", "latin1", "huge", "list")
# files without a document, which the line need not name
_NOTHING = ("nothing", "blank", "empty-file")
_INPUTS = INPUT.but("user", "surrogate", "escape").also(
    1,
    *("empty-folder", "fifo", "folder.jsonl", "file"),
    *(f"{name}.jsonl" for name in _LINES if name not in _NOTHING),
    *(f"{kind}{suffix}" for kind in _KINDS[1:] for suffix in (".jsonl", ".jsonl.gz", ".jsonl.zst")),
    *(f"{kind}.parquet" for kind in _KINDS[1:]),
    "half.jsonl.gz",
)

TABLE = Table(
    tool="prepare_corpus",
    prepare=prepare,
    lines={
        "tokenize": "tokenize text.jsonl --tokenizer gpt2 --output-prefix out",
        "subset": "subset text.jsonl --tail 1 --output out.jsonl",
    },
    kinds={
        "inputs": _INPUTS,
        "--field": NAME,
        "--split": NAME,
        "--on-error": CHOICE,
        "--tokenizer": NAME.also(1, *(f"tokenizer-{kind}" for kind in spoiled(b""))),
        "subset --tokenizer": NAME,
        "--output-prefix": OUTPUT_FILE.but("user", "folder", "fifo"),
        "--output": OUTPUT_FILE,
        "--tokens-per-sample": NUMBER,
        "--tokens": COUNT,
        "--samples": COUNT,
        "--bytes": COUNT,
        "--tail": COUNT,
        "--workers": COUNT,
    },
    rows=(
        row("", 2, "tokenize"),
        row("tokenize", 2, "INPUT"),
        row("tokenize text.jsonl", 2, "--tokenizer"),
        row("subset text.jsonl --output o.jsonl", 2, "--samples"),
        row("subset text.jsonl --samples 1 --tail 1 --output o.jsonl", 2, "--tail"),
        row("subset text.jsonl --samples 1", 2, "--output"),
        row("tokenize text.jsonl missing.jsonl --tokenizer gpt2 --output-prefix out", 1, "missing"),
        *(row(f"subset {name}.jsonl --tail 1 --output o.jsonl", 1, "no doc") for name in _NOTHING),
        *(
            row(f"tokenize {name}.jsonl --tokenizer gpt2 --output-prefix o", 1, "no doc")
            for name in _NOTHING
        ),
        row("subset text.jsonl --samples 1 --output text.jsonl", 2, "text.jsonl"),
        row("tokenize nothing.jsonl --on-error skip --tokenizer gpt2 --output-prefix o", 1, "no"),
        row("tokenize text.jsonl --field no --tokenizer gpt2 --output-prefix o", 1, "no"),
    ),
)
