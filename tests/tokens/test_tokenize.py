"""Text to .bin/.idx: byte for byte as Megatron's own tool, with the fast encoder only where it is right."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from encore import files
from encore.corpus.documents import ReadOptions, stream
from encore.errors import DataError, OutputError
from encore.tokens import encoders, tokenize
from encore.tokens.indexed import IndexedDataset
from encore.tokens.manifest import Manifest
from encore.tokens.tokenize import TokenizeRequest
from encore.tokens.tokenizer import Tokenizer, load
from hypothesis import given, settings
from hypothesis import strategies as st

DATA = Path(__file__).parents[1] / "data"
GPT2 = DATA / "gpt2"
HOSTILE = DATA / "megatron_tool" / "hostile.jsonl"
# sha256 of what Megatron's tool wrote; data/megatron_tool/README.md says how.
WITHOUT_EOD = "daa0453a08afd765654b8b1954e8ae63b26dce44940e5222aadc65ecccca7735"
WIDE = {
    ".bin": "ce2ae72a6da2a891660fb7c3123f498fb98137355b4c0c68b2c0fb8a4ff64e13",
    ".idx": "6d4ef1ee5d80c161e30b16c0245b78195052eb43976d58ad372357b2cd731210",
}
EOD = 50256


def gpt2() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE.from_file(str(GPT2 / "vocab.json"), str(GPT2 / "merges.txt"))
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return backend


def save(backend: tokenizers.Tokenizer, folder: Path, **config: Any) -> str:
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


def wide(folder: Path) -> str:
    """66,258 entries, so int32, and one id before each text."""
    backend = gpt2()
    backend.add_special_tokens(["<|endoftext|>", "<bos>", *(f"<extra_{i}>" for i in range(16000))])
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))]
    )
    return save(backend, folder, eos_token="<|endoftext|>")


def write(
    source: Path,
    tokenizer: Tokenizer,
    request: TokenizeRequest,
    warn: Callable[[str], None] = pytest.fail,
) -> Manifest:
    return tokenize.write(
        lambda: stream([str(source)], ReadOptions(skip_bad=True)), tokenizer, request, warn
    )


def documents(target: str) -> list[list[int]]:
    read = IndexedDataset(target)
    return [read.get(i).tolist() for i in range(len(read))]


@pytest.fixture(scope="module")
def gpt2_files() -> Tokenizer:
    return load(str(GPT2))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """3,000 documents over several batches."""
    rng = random.Random(3)
    words = [json.loads(line)["text"][:300] for line in HOSTILE.read_bytes().splitlines()]
    with open(tmp_path / "corpus.jsonl", "w", encoding="utf-8") as out:
        for i in range(3000):
            out.write(json.dumps({"text": f"{i} {rng.choice(words)} {rng.choice(words)}"}) + "\n")
    return tmp_path / "corpus.jsonl"


@pytest.mark.parametrize("workers", [1, 3])
def test_hostile_text_gives_megatrons_very_bytes(
    tmp_path: Path, gpt2_files: Tokenizer, workers: int
) -> None:
    request = TokenizeRequest(str(tmp_path / "x"), append_eod=True, workers=workers)
    manifest = write(HOSTILE, gpt2_files, request)
    for suffix in (".bin", ".idx"):
        assert (
            Path(request.target + suffix).read_bytes()
            == HOSTILE.with_name(f"gpt2_text_document{suffix}").read_bytes()
        )
    assert manifest.encoder.startswith("gigatoken")
    write(HOSTILE, gpt2_files, TokenizeRequest(str(tmp_path / "y")))
    assert files.sha256(tmp_path / "y_text_document.bin") == WITHOUT_EOD


def test_a_wide_vocabulary_and_a_template_give_megatrons_very_bytes(tmp_path: Path) -> None:
    manifest = write(
        HOSTILE,
        load(wide(tmp_path / "wide")),
        TokenizeRequest(str(tmp_path / "x"), append_eod=True),
    )
    assert {
        suffix: files.sha256(Path(f"{tmp_path}/x_text_document{suffix}")) for suffix in WIDE
    } == WIDE
    assert manifest.dtype == "int32"
    assert manifest.encoder.startswith("gigatoken")


def test_a_texts_own_end_of_text_is_a_token_only_to_hugging_face(
    tmp_path: Path, gpt2_files: Tokenizer
) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a<|endoftext|>"}\n')
    backend = gpt2()
    backend.add_special_tokens(["<|endoftext|>"])
    for name, tokenizer in (("megatron", gpt2_files), ("hf", load(save(backend, tmp_path / "hf")))):
        write(
            tmp_path / "x.jsonl", tokenizer, TokenizeRequest(str(tmp_path / name), append_eod=True)
        )
    assert documents(f"{tmp_path}/hf_text_document") == [[64, EOD, EOD]]
    assert documents(f"{tmp_path}/megatron_text_document")[0].count(EOD) == 1


@pytest.fixture(scope="module")
def both(gpt2_files: Tokenizer) -> tuple[encoders.Encode, encoders.Encode]:
    slow = encoders._SlowEncoder(gpt2_files, (EOD,))
    return encoders._FastEncoder(gpt2_files, (EOD,), slow), slow


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), max_size=8))
def test_both_encoders_agree_on_any_text(
    both: tuple[encoders.Encode, encoders.Encode], texts: list[str]
) -> None:
    fast, slow = (encode([text.encode() for text in texts]) for encode in both)
    assert fast[0].tolist() == slow[0].tolist()
    assert fast[1].tolist() == slow[1].tolist()
    assert [length == 0 for length in slow[1]] == [text == "" for text in texts]


@settings(max_examples=100, deadline=None)
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
    tmp_path: Path, corpus: Path
) -> None:
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[UNK]": 0, "the": 1, "[EOS]": 2}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    corpus.write_text('{"text": "the cat"}\n{"text": "  "}\n{"text": "the the the"}\n')
    warnings: list[str] = []
    request = TokenizeRequest(str(tmp_path / "x"), append_eod=True)
    manifest = write(
        corpus,
        load(save(backend, tmp_path / "words", eos_token={"content": "[EOS]"})),
        request,
        warnings.append,
    )
    assert len(warnings) == 1
    assert "gigatoken" in warnings[0]
    assert "slower" in warnings[0]
    assert documents(request.target) == [[1, 0, 2], [1, 1, 1, 2]]
    assert manifest.encoder.startswith("tokenizers")
    assert manifest.skipped == {"no tokens": 1}


def differing(folder: Path) -> str:
    """gigatoken 0.10.0 takes this token within words too, which tokenizers does not."""
    backend = gpt2()
    backend.add_tokens([tokenizers.AddedToken("the", single_word=True)])
    return save(backend, folder)


def test_a_tokenizer_on_which_the_two_differ_is_served_slower(tmp_path: Path, corpus: Path) -> None:
    warnings: list[str] = []
    tokenizer = load(differing(tmp_path / "differing"))
    request = TokenizeRequest(str(tmp_path / "x"))
    write(corpus, tokenizer, request, warnings.append)
    assert warnings == [
        "gigatoken and tokenizers differ on this tokenizer or text; encoding with tokenizers instead, which is slower"
    ]
    texts = [json.loads(line)["text"] for line in corpus.read_bytes().splitlines()]
    assert documents(request.target) == [one.ids for one in tokenizer.backend.encode_batch(texts)]


def test_a_difference_that_shows_late_starts_the_work_over(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load(differing(tmp_path / "differing"))
    prove = encoders._FastEncoder._prove
    calls: list[int] = []

    def late(encoder: Any, texts: list[bytes]) -> None:
        calls.append(1)
        if len(calls) > 1:
            prove(encoder, [b"other " * 99])

    monkeypatch.setattr(encoders, "_BATCHES_PER_SLICE", 1)
    monkeypatch.setattr(encoders._FastEncoder, "_prove", late)
    warnings: list[str] = []
    write(corpus, tokenizer, TokenizeRequest(str(tmp_path / "late")), warnings.append)
    monkeypatch.undo()
    write(corpus, tokenizer, TokenizeRequest(str(tmp_path / "early")), warnings.append)
    assert len(calls) >= 2
    assert len(warnings) == 2
    assert documents(f"{tmp_path}/late_text_document") == documents(
        f"{tmp_path}/early_text_document"
    )


def test_a_renewed_backend_changes_nothing(
    tmp_path: Path, corpus: Path, gpt2_files: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(corpus, gpt2_files, TokenizeRequest(str(tmp_path / "one")))
    monkeypatch.setattr(encoders, "_RENEWED_AFTER_BYTES", 500_000)
    write(corpus, gpt2_files, TokenizeRequest(str(tmp_path / "many")))
    assert (tmp_path / "one_text_document.bin").read_bytes() == (
        tmp_path / "many_text_document.bin"
    ).read_bytes()


@pytest.mark.parametrize("tokens", [1, 1000, 123_456])
@pytest.mark.parametrize("append_eod", [False, True])
def test_tokens_stop_with_the_document_that_reaches_them_or_at_the_very_token(
    tmp_path: Path, corpus: Path, gpt2_files: Tokenizer, tokens: int, append_eod: bool
) -> None:
    for prefix, limit, exact in (
        ("all", None, False),
        ("some", tokens, False),
        ("exact", tokens, True),
    ):
        write(
            corpus,
            gpt2_files,
            TokenizeRequest(str(tmp_path / prefix), "text", append_eod, limit, exact),
        )
    whole, some, exact = (
        documents(f"{tmp_path}/{prefix}_text_document") for prefix in ("all", "some", "exact")
    )
    assert some == whole[: len(some)]
    assert sum(map(len, some)) >= tokens > sum(map(len, some[:-1]))
    assert sum(map(len, exact)) == tokens
    assert exact[:-1] == some[:-1]
    assert exact[-1] == some[-1][: len(exact[-1])]


def test_more_tokens_than_there_are_is_an_error_and_nothing_is_left(
    tmp_path: Path, gpt2_files: Tokenizer
) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "one two"}\n')
    for exact in (False, True):
        with pytest.raises(DataError, match="the input has 2 tokens, fewer than the 100 asked for"):
            write(
                tmp_path / "x.jsonl",
                gpt2_files,
                TokenizeRequest(str(tmp_path / "o" / "x"), tokens=100, exact=exact),
            )
    assert not list((tmp_path / "o").iterdir())


def test_an_end_that_the_tokenizer_lacks_is_an_error_and_nothing_is_left(
    tmp_path: Path, corpus: Path
) -> None:
    tokenizer = load(save(gpt2(), tmp_path / "no eos", eos_token="</s>"))
    with pytest.raises(DataError, match="no eos has no end-of-document token") as error:
        write(corpus, tokenizer, TokenizeRequest(str(tmp_path / "o" / "x"), append_eod=True))
    assert "--append-eod" in error.value.hint
    assert not list((tmp_path / "o").iterdir())


def test_the_manifest_tells_what_was_read_and_written(
    tmp_path: Path, gpt2_files: Tokenizer
) -> None:
    request = TokenizeRequest(str(tmp_path / "a b"), append_eod=True)
    manifest = write(HOSTILE, gpt2_files, request)
    written = json.loads(Path(f"{request.target}.json").read_text())
    assert written == manifest.to_json()
    assert Manifest.read(request.target) == manifest
    read = IndexedDataset(request.target)
    assert (written["documents"], written["tokens"], written["dtype"]) == (
        len(read),
        len(read.tokens),
        "uint16",
    )
    assert written["skipped"] == {"empty document": 2}
    assert written["tokenizer"]["sha256"] == {
        name: hashlib.sha256((GPT2 / name).read_bytes()).hexdigest()
        for name in ("vocab.json", "merges.txt")
    }
    assert (written["tokenizer"]["megatron_type"], written["tokenizer"]["eod"]) == (
        "GPT2BPETokenizer",
        EOD,
    )
    size = HOSTILE.stat().st_size
    digest = files.sha256(HOSTILE)
    assert written["inputs"] == [
        {"name": str(HOSTILE), "bytes": size, "hashed_bytes": size, "sha256": digest}
    ]
    assert written["sha256"] == {
        f"a b_text_document{suffix}": files.sha256(Path(request.target + suffix))
        for suffix in (".bin", ".idx")
    }


def test_a_failure_keeps_the_older_three_files(tmp_path: Path, gpt2_files: Tokenizer) -> None:
    request = TokenizeRequest(str(tmp_path / "o" / "x"))
    write(HOSTILE, gpt2_files, request)
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    assert set(before) == {f"x_text_document{suffix}" for suffix in (".bin", ".idx", ".json")}
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(HOSTILE.read_bytes() + b"broken\n")
    with pytest.raises(DataError, match=r"bad\.jsonl:33: empty document"):
        tokenize.write(lambda: stream([str(bad)], ReadOptions()), gpt2_files, request, pytest.fail)
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, corpus: Path, gpt2_files: Tokenizer
) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / ".x_text_document.bin.tmp").symlink_to("/dev/full")  # each write to it ends in ENOSPC
    with pytest.raises(OSError, match="No space left on device") as error:
        write(corpus, gpt2_files, TokenizeRequest(str(folder / "x")))
    assert str(error.value.filename).endswith("x_text_document.bin")
    assert not list(folder.iterdir())


def test_two_runs_with_one_output_do_not_mix(tmp_path: Path, gpt2_files: Tokenizer) -> None:
    request = TokenizeRequest(str(tmp_path / "x"))
    with (
        files.exclusive(Path(f"{request.target}.bin")),
        pytest.raises(OutputError, match=r"x_text_document\.bin is being written by another run"),
    ):
        write(HOSTILE, gpt2_files, request)
    write(HOSTILE, gpt2_files, request)


SLOWLY = """
import sys, time
from encore.corpus.documents import ReadOptions, stream
from encore.tokens import tokenize as tokenizing
from encore.tokens.tokenizer import load
def slow():
    for batch in stream([sys.argv[1]], ReadOptions()):
        yield batch
        print("batch", flush=True)
        time.sleep(0.5)
tokenizing.write(slow, load(sys.argv[2]), tokenizing.TokenizeRequest(sys.argv[3]), print)
"""


def test_a_killed_run_can_be_rerun_to_the_same_bytes(
    tmp_path: Path, corpus: Path, gpt2_files: Tokenizer
) -> None:
    prefix = str(tmp_path / "o" / "x")
    environment = {**os.environ, "PYTHONPATH": str(Path(tokenize.__file__).parents[2])}
    command = [sys.executable, "-c", SLOWLY, str(corpus), str(GPT2), prefix]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as killed:
        assert killed.stdout
        killed.stdout.readline()
        time.sleep(0.2)
        killed.send_signal(signal.SIGKILL)
    left = {path.name for path in (tmp_path / "o").iterdir()}
    assert left >= {".x_text_document.bin.tmp", ".x_text_document.idx.tmp"}
    assert not [name for name in left if name.startswith("x")]
    write(corpus, gpt2_files, TokenizeRequest(prefix))
    write(corpus, gpt2_files, TokenizeRequest(str(tmp_path / "clean" / "x")))
    again, clean = (
        {p.name: p.read_bytes() for p in (tmp_path / f).iterdir()} for f in ("o", "clean")
    )
    assert again == clean
