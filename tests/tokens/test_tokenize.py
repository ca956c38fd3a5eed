"""Text to .bin/.idx: byte for byte as Megatron's own tool, with a manifest, whole or not at all."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers
from encore import files
from encore.corpus.documents import ReadOptions, stream
from encore.errors import DataError, OutputError
from encore.tokens import tokenize
from encore.tokens.indexed import IndexedDataset
from encore.tokens.manifest import Manifest
from encore.tokens.tokenize import TokenizeRequest
from encore.tokens.tokenizer import Tokenizer, load
from helpers.full_disk import full_disk
from helpers.tokenizing import (
    EOD,
    GPT2,
    HOSTILE,
    documents,
    gpt2_backend,
    save_tokenizer,
    tokenized_with,
)

# sha256 of what Megatron's tool wrote; data/megatron_tool/README.md says how.
WITHOUT_EOD = "daa0453a08afd765654b8b1954e8ae63b26dce44940e5222aadc65ecccca7735"
WIDE = {
    ".bin": "ce2ae72a6da2a891660fb7c3123f498fb98137355b4c0c68b2c0fb8a4ff64e13",
    ".idx": "6d4ef1ee5d80c161e30b16c0245b78195052eb43976d58ad372357b2cd731210",
}


def wide(folder: Path) -> str:
    """66,258 entries, so int32, and one id before each text."""
    backend = gpt2_backend()
    backend.add_special_tokens(["<|endoftext|>", "<bos>", *(f"<extra_{i}>" for i in range(16000))])
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))]
    )
    return save_tokenizer(backend, folder, eos_token="<|endoftext|>")


@pytest.mark.parametrize("workers", [1, 3])
def test_hostile_text_gives_megatrons_very_bytes(
    tmp_path: Path, gpt2_files: Tokenizer, workers: int
) -> None:
    request = TokenizeRequest(str(tmp_path / "x"), append_eod=True, workers=workers)
    manifest = tokenized_with(HOSTILE, gpt2_files, request)
    for suffix in (".bin", ".idx"):
        assert (
            Path(request.target + suffix).read_bytes()
            == HOSTILE.with_name(f"gpt2_text_document{suffix}").read_bytes()
        )
    assert manifest.encoder.startswith("gigatoken")
    tokenized_with(HOSTILE, gpt2_files, TokenizeRequest(str(tmp_path / "y")))
    assert files.sha256(tmp_path / "y_text_document.bin") == WITHOUT_EOD


def test_a_wide_vocabulary_and_a_template_give_megatrons_very_bytes(tmp_path: Path) -> None:
    manifest = tokenized_with(
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
    backend = gpt2_backend()
    backend.add_special_tokens(["<|endoftext|>"])
    for name, tokenizer in (
        ("megatron", gpt2_files),
        ("hf", load(save_tokenizer(backend, tmp_path / "hf"))),
    ):
        tokenized_with(
            tmp_path / "x.jsonl", tokenizer, TokenizeRequest(str(tmp_path / name), append_eod=True)
        )
    assert documents(f"{tmp_path}/hf_text_document") == [[64, EOD, EOD]]
    assert documents(f"{tmp_path}/megatron_text_document")[0].count(EOD) == 1


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
        tokenized_with(
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
            tokenized_with(
                tmp_path / "x.jsonl",
                gpt2_files,
                TokenizeRequest(str(tmp_path / "o" / "x"), tokens=100, exact=exact),
            )
    assert not list((tmp_path / "o").iterdir())


def test_an_end_that_the_tokenizer_lacks_is_an_error_and_nothing_is_left(
    tmp_path: Path, corpus: Path
) -> None:
    tokenizer = load(save_tokenizer(gpt2_backend(), tmp_path / "no eos", eos_token="</s>"))
    with pytest.raises(DataError, match="no eos has no end-of-document token") as error:
        tokenized_with(
            corpus, tokenizer, TokenizeRequest(str(tmp_path / "o" / "x"), append_eod=True)
        )
    assert "--append-eod" in error.value.hint
    assert not list((tmp_path / "o").iterdir())


def test_the_manifest_tells_what_was_read_and_written(
    tmp_path: Path, gpt2_files: Tokenizer
) -> None:
    request = TokenizeRequest(str(tmp_path / "a b"), append_eod=True)
    manifest = tokenized_with(HOSTILE, gpt2_files, request)
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
    tokenized_with(HOSTILE, gpt2_files, request)
    before = {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()}
    assert set(before) == {f"x_text_document{suffix}" for suffix in (".bin", ".idx", ".json")}
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(HOSTILE.read_bytes() + b"broken\n")
    with pytest.raises(DataError, match=r"bad\.jsonl:33: empty document"):
        tokenize.write(lambda: stream([str(bad)], ReadOptions()), gpt2_files, request)
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").iterdir()} == before


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, corpus: Path, gpt2_files: Tokenizer
) -> None:
    folder = tmp_path / "full"
    with full_disk(), pytest.raises(OSError, match="File too large") as error:
        tokenized_with(corpus, gpt2_files, TokenizeRequest(str(folder / "x")))
    assert str(error.value.filename).endswith("x_text_document.bin")
    assert not list(folder.iterdir())


def test_two_runs_with_one_output_do_not_mix(tmp_path: Path, gpt2_files: Tokenizer) -> None:
    request = TokenizeRequest(str(tmp_path / "x"))
    with (
        files.exclusive(Path(f"{request.target}.bin")),
        pytest.raises(OutputError, match=r"x_text_document\.bin is being written by another run"),
    ):
        tokenized_with(HOSTILE, gpt2_files, request)
    tokenized_with(HOSTILE, gpt2_files, request)


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
tokenizing.write(slow, load(sys.argv[2]), tokenizing.TokenizeRequest(sys.argv[3]))
"""


@pytest.mark.slow
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
    tokenized_with(corpus, gpt2_files, TokenizeRequest(prefix))
    tokenized_with(corpus, gpt2_files, TokenizeRequest(str(tmp_path / "clean" / "x")))
    again, clean = (
        {p.name: p.read_bytes() for p in (tmp_path / f).iterdir()} for f in ("o", "clean")
    )
    assert again == clean
