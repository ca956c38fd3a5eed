"""Several .bin/.idx pairs put end to end into one, at any size.

The result is byte for byte what TurkuNLP 6732bc9 tools/merge_preprocessed_data.py writes, without
the faults of Megatron-LM's merge: it let byte offsets overflow above 40B tokens (its issue 1672)
and once lost the document index (its issue 81).
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

    Raises DataError for a pair that is damaged or of another dtype, UsageError when `output` is one
    of the inputs. Ids are not widened to a common dtype: another dtype means another tokenizer.
    """
    inputs = []
    for prefix in prefixes:
        dataset = IndexedDataset(prefix)
        dataset.check()
        inputs.append(dataset)
        if dataset.dtype != inputs[0].dtype:
            raise DataError(
                f"{prefix} holds {dataset.dtype.name}, {prefixes[0]} {inputs[0].dtype.name}",
                "tokenize both with one tokenizer: tools/prepare_corpus.py tokenize --tokenizer T",
            )
        if bin_path(output).exists() and bin_path(output).samefile(bin_path(prefix)):
            raise UsageError(
                f"{output} is both an input and the output", "give another --output-prefix"
            )
    with files.exclusive(bin_path(output)), new_pair(output) as (tokens, idx):
        _concatenate(prefixes, tokens, progress)
        write_index(idx, inputs)
        # From here on the manifests of an older pair would describe other files.
        Manifest.remove(output)
        part_manifest.manifest_path(output).unlink(missing_ok=True)
    return Index(output)


def _concatenate(prefixes: Sequence[Path], target: Path, progress: Progress) -> None:
    position = 0
    for prefix in prefixes:
        source = bin_path(prefix)
        count = source.stat().st_size
        hashed_copy.copy(source, 0, count, target, position, progress)
        position += count
