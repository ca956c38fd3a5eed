"""The tokenizer files of a transformers folder: the tokenizer's own as they are, and what transformers adds."""

import shutil
from pathlib import Path

from encore import files
from encore.errors import DataError
from encore.tokens.tokenizer import Tokenizer


def write(tokenizer: Tokenizer, folder: Path, positions: int) -> None:
    """Put a tokenizer into a folder: tokenizer.json, tokenizer_config.json and the files it came from.

    Raises DataError where transformers makes another vocabulary of it.
    """
    if tokenizer.megatron_type == "GPT2BPETokenizer":
        _make(tokenizer, folder, positions)
    for path in tokenizer.paths:
        shutil.copyfile(path, folder / path.name)
    for path in folder.iterdir():
        files.fsync(path)


def _make(tokenizer: Tokenizer, folder: Path, positions: int) -> None:
    import transformers

    source = tokenizer.paths[0].parent
    made = transformers.GPT2TokenizerFast.from_pretrained(source, model_max_length=positions)
    if len(made) != tokenizer.vocabulary_size:
        raise DataError(
            f"tokenizer {tokenizer.name} has {tokenizer.vocabulary_size} entries, transformers makes {len(made)} of it",
            "its vocab.json needs <|endoftext|>",
        )
    made.save_pretrained(folder)
