"""The tokenizer files of a transformers folder: the tokenizer's own, and what transformers adds."""

import shutil
from pathlib import Path

from encore import files
from encore.errors import DataError
from encore.tokens.tokenizer import Tokenizer


def write(tokenizer: Tokenizer, folder: Path, positions: int) -> None:
    """Put a tokenizer into a folder: tokenizer.json, tokenizer_config.json and its own files.

    positions: the longest input of the model. Raises DataError where transformers makes another
    vocabulary of it.
    """
    if tokenizer.megatron_type == "GPT2BPETokenizer":
        _write_by_transformers(tokenizer, folder, positions)
    # over what transformers wrote: byte for byte the files that the model was trained with
    for path in tokenizer.paths:
        shutil.copyfile(path, folder / path.name)
    for path in folder.iterdir():
        files.fsync(path)


def _write_by_transformers(tokenizer: Tokenizer, folder: Path, positions: int) -> None:
    import transformers

    source = tokenizer.paths[0].parent
    # transformers loads this class when it is asked for, which mypy does not see
    fast_class = getattr(transformers, "GPT2TokenizerFast")  # noqa: B009
    converted = fast_class.from_pretrained(source, model_max_length=positions)
    if len(converted) != tokenizer.vocabulary_size:
        raise DataError(
            f"tokenizer {tokenizer.name} has {tokenizer.vocabulary_size} entries,"
            f" transformers makes {len(converted)} of it",
            "add <|endoftext|> to its vocab.json",
        )
    converted.save_pretrained(folder)
