"""The demo's tokenizer: the size asked for, GPT-2's form, loss-free."""

import json
from pathlib import Path

import pytest
from encore.tokens import train_bpe
from encore.tokens.tokenizer import END_OF_TEXT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    text = folder / "text.jsonl"
    lines = (Path(train_bpe.__file__).parent / "tokenize.py").read_text().splitlines() * 3
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    train_bpe.train(text, folder / "made", 400)
    return folder


def test_ids_are_dense_and_the_end_of_document_is_the_last(folder: Path) -> None:
    vocabulary = json.loads((folder / "made" / "vocab.json").read_text())
    assert sorted(vocabulary.values()) == list(range(400))
    assert vocabulary[END_OF_TEXT] == 399


def test_training_again_gives_the_same_files(folder: Path) -> None:
    train_bpe.train(folder / "text.jsonl", folder / "again", 400)
    for name in ("vocab.json", "merges.txt"):
        assert (folder / "made" / name).read_bytes() == (folder / "again" / name).read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_any_text_comes_back(folder: Path, text: str) -> None:
    tokenizer = ByteLevelBPETokenizer(
        str(folder / "made" / "vocab.json"), str(folder / "made" / "merges.txt")
    )
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
