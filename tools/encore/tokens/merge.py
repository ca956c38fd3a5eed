"""Several .bin/.idx pairs put end to end into one, byte for byte as Megatron's own merge, but safe at any size.

Megatron-LM's merge let byte offsets overflow (its issue 1672, above 40B tokens) and once lost the document index (its
issue 81). The result is what TurkuNLP 6732bc9 tools/merge_preprocessed_data.py writes.
"""

from collections.abc import Sequence
from pathlib import Path

from encore import files
from encore.errors import DataError, UsageError
from encore.files import Progress, no_progress
from encore.tokens import hashed_copy, part_manifest
from encore.tokens.indexed import Index, IndexedDataset, bin_path, new_pair, write_index
from encore.tokens.manifest import Manifest


def merge(prefixes: Sequence[Path], output: Path, progress: Progress = no_progress) -> Index:
    """Write the documents of all prefixes, in their order, to `output`; returns its index.

    Raises DataError for a pair that is not whole or has another dtype: widening ids would only hide that they come from
    another tokenizer. Raises UsageError when `output` is one of the inputs.
    """
    inputs = [_checked(prefix) for prefix in prefixes]
    for prefix, each in zip(prefixes, inputs, strict=True):
        if each.dtype != inputs[0].dtype:
            raise DataError(
                f"{prefix} holds {each.dtype.name}, {prefixes[0]} {inputs[0].dtype.name}",
                "tokenize both with one tokenizer",
            )
        if bin_path(output).exists() and bin_path(output).samefile(bin_path(prefix)):
            raise UsageError(f"{output} is both an input and the output", "choose another output")
    with files.exclusive(bin_path(output)), new_pair(output) as (tokens, idx):
        _concatenate(prefixes, tokens, progress)
        write_index(idx, inputs)
        # From here on the manifests of an older pair would describe other files.
        Manifest.remove(output)
        part_manifest.manifest_path(output).unlink(missing_ok=True)
    return Index(output)


def _checked(prefix: Path) -> IndexedDataset:
    dataset = IndexedDataset(prefix)
    dataset.check()
    return dataset


def _concatenate(prefixes: Sequence[Path], target: Path, progress: Progress) -> None:
    at = 0
    target.write_bytes(b"")
    for prefix in prefixes:
        source = bin_path(prefix)
        count = source.stat().st_size
        hashed_copy.copy(source, 0, count, target, at, progress)
        at += count
