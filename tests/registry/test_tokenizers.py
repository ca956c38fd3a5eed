"""Tokenizers are known by whole hashes."""

import re

from encore.registry.tokenizers import load_tokenizers


def test_hashes_are_whole() -> None:
    for tokenizer in load_tokenizers().values():
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in tokenizer.files.values())
    assert load_tokenizers()["gpt2"].vocabulary == 50_257
