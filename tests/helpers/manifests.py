"""Pairs with the manifest that tokenizing would have written, and files that are no manifest."""

import json
from pathlib import Path

from encore import files
from encore.tokens.indexed import IndexedWriter, bin_path, idx_path
from encore.tokens.manifest import Manifest

_RAW = {
    "kit": "encore 1",
    "documents": 2,
    "tokens": 30,
    "dtype": "uint16",
    "append_eod": True,
    "encoder": "tokenizers 1",
    "tokenizer": {"name": "gpt2"},
    "inputs": [{"name": "c4.jsonl"}],
    "skipped": {"no tokens": 1},
    "sha256": {},
}


def _with(**changes: object) -> bytes:
    return json.dumps(_RAW | changes).encode()


# (content of PREFIX.json, what the reason says)
BROKEN = [
    (b"", "not JSON"),
    (json.dumps(_RAW).encode()[:-20], "not JSON"),
    (b"[]", "not a JSON object"),
    (b"null", "not a JSON object"),
    (b"12", "not a JSON object"),
    (b"{}", "it lacks 'kit'"),
    (b'{"tokens": 31, "documents": 2}', "it lacks 'kit'"),
    (b"\x80\x04\x95\xff\xfe\x00", "not UTF-8"),
    (b"[" * 200_000, "nested too deep"),
    (b"1" * 10_000, "digits"),
    (_with(tokens="30"), "'tokens' is not a count"),
    (_with(tokens=30.0), "'tokens' is not a count"),
    (_with(tokens=float("inf")), "Infinity is not a number of JSON"),
    (_with(tokens=True), "'tokens' is not a count"),
    (_with(documents=-1), "'documents' is not a count"),
    (_with(documents=None), "'documents' is not a count"),
    (_with(dtype=3), "'dtype' is not a string"),
    (_with(append_eod=1), "'append_eod' is not true or false"),
    (_with(tokenizer="gpt2"), "'tokenizer' is not an object"),
    (_with(inputs={}), "'inputs' is not a list of objects"),
    (_with(inputs=["c4.jsonl"]), "'inputs' is not a list of objects"),
    (_with(skipped={"no tokens": -1}), "'skipped' is not an object of counts"),
    (_with(sha256=None), "'sha256' is not an object of strings"),
    (_with(sha256={"x.bin": 7}), "'sha256' is not an object of strings"),
]


def manifest_of(prefix: Path, documents: int, tokens: int) -> Manifest:
    """Write and return the manifest of the uint16 pair at `prefix`."""
    digests = {path.name: files.sha256(path) for path in (bin_path(prefix), idx_path(prefix))}
    changes = {"documents": documents, "tokens": tokens, "sha256": digests}
    manifest = Manifest(**_RAW | changes)
    manifest.write(prefix)
    return manifest


def tokenized(prefix: Path) -> Manifest:
    """A pair of two documents, 10 and 20 tokens, with its manifest, which is returned."""
    with IndexedWriter(prefix, "<u2") as writer:
        writer.add(range(10))
        writer.add(range(20))
    return manifest_of(prefix, 2, 30)
