"""GPT-2's tokenizer, variants of it, and text tokenized with them."""

import json
import random
from pathlib import Path
from typing import Any

import tokenizers
from encore import kit
from encore.corpus.documents import ReadOptions, stream
from encore.tokens import tokenize
from encore.tokens.indexed import IndexedDataset
from encore.tokens.manifest import Manifest
from encore.tokens.tokenize import TokenizeRequest
from encore.tokens.tokenizer import Tokenizer

DATA = kit.ROOT / "tests" / "data"
GPT2 = DATA / "gpt2"
HOSTILE = DATA / "megatron_tool" / "hostile.jsonl"
EOD = 50256


def gpt2_backend() -> tokenizers.Tokenizer:
    """GPT-2's vocabulary and merges, without its end-of-text token as a special one."""
    backend = tokenizers.Tokenizer(
        tokenizers.models.BPE.from_file(str(GPT2 / "vocab.json"), str(GPT2 / "merges.txt"))
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return backend


def save_tokenizer(backend: tokenizers.Tokenizer, folder: Path, **config: Any) -> str:
    """Save a tokenizer.json and, of `config`, a tokenizer_config.json; returns the folder."""
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


def write_corpus(path: Path) -> None:
    """3,000 documents over several batches."""
    rng = random.Random(3)
    words = [json.loads(line)["text"][:300] for line in HOSTILE.read_bytes().splitlines()]
    with open(path, "w", encoding="utf-8") as out:
        for i in range(3000):
            out.write(json.dumps({"text": f"{i} {rng.choice(words)} {rng.choice(words)}"}) + "\n")


def tokenized_with(
    source: Path, tokenizer: Tokenizer, request: TokenizeRequest, encoder: str = "gigatoken"
) -> Manifest:
    """Tokenize a file, with the encoder that is expected to be used."""
    manifest = tokenize.write(
        lambda: stream([str(source)], ReadOptions(skip_bad=True)), tokenizer, request
    )
    assert manifest.encoder.startswith(encoder)
    return manifest


def documents(target: str) -> list[list[int]]:
    """The ids of each document of a pair."""
    read = IndexedDataset(target)
    return [read.get(i).tolist() for i in range(len(read))]
