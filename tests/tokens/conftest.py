"""Fixtures of the tests that tokenize."""

from pathlib import Path

import pytest
from encore.tokens.tokenizer import Tokenizer, load
from helpers.tokenizing import GPT2, write_corpus


@pytest.fixture(scope="session")
def gpt2_files() -> Tokenizer:
    """GPT-2's tokenizer, from vocab.json and merges.txt."""
    return load(str(GPT2))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A jsonl file of 3,000 documents."""
    write_corpus(tmp_path / "corpus.jsonl")
    return tmp_path / "corpus.jsonl"
