"""Trains a byte-level BPE tokenizer of GPT-2's kind, saved as Megatron reads it."""

import json
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer

from encore import files
from encore.tokens.tokenizer import END_OF_TEXT


def train(jsonl: Path, folder: Path, vocabulary: int) -> None:
    """Train on the `text` of a jsonl file; write vocab.json and merges.txt into `folder`.

    vocabulary: number of entries, the last of them the end-of-document token, as in GPT-2's.
    The same text gives the same files.
    """
    tokenizer = ByteLevelBPETokenizer()
    with jsonl.open(encoding="utf-8") as lines:
        texts = (json.loads(line)["text"] for line in lines)
        tokenizer.train_from_iterator(texts, vocab_size=vocabulary - 1, show_progress=False)
    tokenizer.add_special_tokens([END_OF_TEXT])
    # the model's own vocabulary has no added tokens
    model = json.loads(tokenizer.to_str())["model"]
    ids = model["vocab"] | {END_OF_TEXT: tokenizer.token_to_id(END_OF_TEXT)}
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    files.write_text(folder / "merges.txt", f"#version: 0.2\n{merges}")
    by_id = dict(sorted(ids.items(), key=lambda item: item[1]))
    files.write_text(folder / "vocab.json", json.dumps(by_id))
