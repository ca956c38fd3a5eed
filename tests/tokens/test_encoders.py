"""Encoders give the reference's ids; gigatoken encodes only where it does too."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from encore.tokens import encoders
from encore.tokens.tokenize import TokenizeRequest
from encore.tokens.tokenizer import Tokenizer, load
from helpers.examples import examples
from helpers.tokenizing import EOD, documents, gpt2_backend, save_tokenizer, tokenized_with
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def both(gpt2_files: Tokenizer) -> tuple[encoders.Encode, encoders.Encode]:
    slow = encoders._ReferenceEncoder(gpt2_files, (EOD,))
    return encoders._GigatokenEncoder(gpt2_files, (EOD,), slow), slow


@examples(200)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), max_size=8))
def test_both_encoders_agree_on_any_text(
    both: tuple[encoders.Encode, encoders.Encode], texts: list[str]
) -> None:
    fast, slow = (encode([text.encode() for text in texts]) for encode in both)
    assert fast[0].tolist() == slow[0].tolist()
    assert fast[1].tolist() == slow[1].tolist()
    assert [length == 0 for length in slow[1]] == [text == "" for text in texts]


@examples(100)
@given(
    st.lists(st.lists(st.integers(0, 60000), max_size=5), max_size=8),
    st.lists(st.integers(0, 60000), max_size=2),
    st.lists(st.integers(0, 60000), max_size=2),
    st.booleans(),
)
def test_a_frame_goes_around_every_document_that_is_not_empty(
    texts: list[list[int]], before: list[int], after: list[int], eod: bool
) -> None:
    frame = encoders.Frame(np.dtype("<u2"), tuple(before), tuple(after), (EOD,) * eod)
    flat = np.array([token for text in texts for token in text], np.uint32)
    ids, lengths = frame.around(flat, np.array([len(text) for text in texts], np.int64))
    framed = [[*before, *text, *after] for text in texts]
    framed = [one + [EOD] * eod if one else [] for one in framed]
    assert ids.tolist() == [token for one in framed for token in one]
    assert lengths.tolist() == [len(one) for one in framed]


def test_a_tokenizer_that_gigatoken_does_not_know_is_served_slower(
    tmp_path: Path, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[UNK]": 0, "the": 1, "[EOS]": 2}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    corpus.write_text('{"text": "the cat"}\n{"text": "  "}\n{"text": "the the the"}\n')
    request = TokenizeRequest(str(tmp_path / "x"), append_eod=True)
    folder = save_tokenizer(backend, tmp_path / "words", eos_token={"content": "[EOS]"})
    manifest = tokenized_with(corpus, load(folder), request, encoder="tokenizers")
    (warning,) = caplog.messages
    assert "gigatoken" in warning
    assert "slower" in warning
    assert documents(request.target) == [[1, 0, 2], [1, 1, 1, 2]]
    assert manifest.skipped == {"no tokens": 1}


def differing(folder: Path) -> str:
    """gigatoken 0.10.0 takes this token within words too, which tokenizers does not."""
    backend = gpt2_backend()
    backend.add_tokens([tokenizers.AddedToken("the", single_word=True)])
    return save_tokenizer(backend, folder)


@pytest.mark.slow
def test_a_tokenizer_on_which_the_two_differ_is_served_slower(
    tmp_path: Path, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = load(differing(tmp_path / "differing"))
    request = TokenizeRequest(str(tmp_path / "x"))
    tokenized_with(corpus, tokenizer, request, encoder="tokenizers")
    assert caplog.messages == [
        "gigatoken and tokenizers differ on this tokenizer or text; encoding with tokenizers"
        " instead, which is slower"
    ]
    texts = [json.loads(line)["text"] for line in corpus.read_bytes().splitlines()]
    assert documents(request.target) == [one.ids for one in tokenizer.backend.encode_batch(texts)]


@pytest.mark.slow
def test_a_difference_that_shows_late_starts_the_work_over(
    tmp_path: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tokenizer = load(differing(tmp_path / "differing"))
    compare = encoders._GigatokenEncoder._compare
    calls: list[int] = []

    def late(encoder: Any, texts: list[bytes]) -> None:
        calls.append(1)
        if len(calls) > 1:
            compare(encoder, [b"other " * 99])

    monkeypatch.setattr(encoders, "_BATCHES_PER_SAMPLE", 1)
    monkeypatch.setattr(encoders._GigatokenEncoder, "_compare", late)
    late_request = TokenizeRequest(str(tmp_path / "late"))
    tokenized_with(corpus, tokenizer, late_request, encoder="tokenizers")
    monkeypatch.undo()
    early_request = TokenizeRequest(str(tmp_path / "early"))
    tokenized_with(corpus, tokenizer, early_request, encoder="tokenizers")
    assert len(calls) >= 2
    assert len(caplog.messages) == 2
    assert documents(f"{tmp_path}/late_text_document") == documents(
        f"{tmp_path}/early_text_document"
    )


@pytest.mark.slow
def test_a_renewed_backend_changes_nothing(
    tmp_path: Path, corpus: Path, gpt2_files: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenized_with(corpus, gpt2_files, TokenizeRequest(str(tmp_path / "one")))
    monkeypatch.setattr(encoders, "_RENEWED_AFTER_BYTES", 500_000)
    tokenized_with(corpus, gpt2_files, TokenizeRequest(str(tmp_path / "many")))
    assert (tmp_path / "one_text_document.bin").read_bytes() == (
        tmp_path / "many_text_document.bin"
    ).read_bytes()
