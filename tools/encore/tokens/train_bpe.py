"""Train a byte-level BPE tokenizer of GPT-2's kind and leave it as Megatron reads it: vocab.json and merges.txt."""

import json
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer

from encore import files

END_OF_DOCUMENT = "<|endoftext|>"


def train(jsonl: Path, folder: Path, vocabulary: int) -> None:
    """Train on the `text` of a jsonl file and write vocab.json and merges.txt into `folder`.

    The end-of-document token is the vocabulary's last, as in GPT-2's. The same text gives the same files.
    """
    tokenizer = ByteLevelBPETokenizer()
    with jsonl.open(encoding="utf-8") as lines:
        texts = (json.loads(line)["text"] for line in lines)
        tokenizer.train_from_iterator(texts, vocab_size=vocabulary - 1, show_progress=False)
    tokenizer.add_special_tokens([END_OF_DOCUMENT])
    model = json.loads(tokenizer.to_str())["model"]
    ids = model["vocab"] | {END_OF_DOCUMENT: tokenizer.token_to_id(END_OF_DOCUMENT)}
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    files.write_text(folder / "merges.txt", f"#version: 0.2\n{merges}")
    files.write_text(
        folder / "vocab.json", json.dumps(dict(sorted(ids.items(), key=lambda item: item[1])))
    )
