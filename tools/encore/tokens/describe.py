"""What a .bin/.idx pair holds, and what document n says."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encore.errors import DataError, UsageError
from encore.tokens.indexed import (
    REPLACE_PAIR,
    Index,
    IndexedDataset,
    Tokens,
    bin_path,
    idx_path,
)
from encore.tokens.tokenizer import MEND, Tokenizer, library_errors

_PERCENTILES = {"p10": 10, "median": 50, "p90": 90, "p99": 99}


def document_lengths(index: Index) -> npt.NDArray[np.int64]:
    """Tokens of each document (d - 1,).

    A document is of several sequences where Megatron wrote the pair with --split-sentences.
    """
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(index.sizes, dtype=np.int64)])
    return np.diff(ends[index.doc_idx])


def describe(prefix: Path) -> dict[str, Any]:
    """Documents, sequences, tokens, dtype, bytes of both files, and the lengths of documents.

    document_tokens: lengths in tokens, each None where there are no documents.
    """
    dataset = IndexedDataset(prefix)
    # a wrong document index would give lengths that no document has
    dataset.check()
    lengths = document_lengths(dataset)
    return {
        "prefix": str(prefix),
        "documents": len(lengths),
        "sequences": len(dataset),
        "tokens": len(dataset.tokens),
        "dtype": dataset.dtype.name,
        "bytes": {path.name: path.stat().st_size for path in (bin_path(prefix), idx_path(prefix))},
        "empty_documents": int((lengths == 0).sum()),
        "document_tokens": _distribution(lengths),
    }


def _distribution(lengths: npt.NDArray[np.int64]) -> dict[str, float | None]:
    if not len(lengths):
        return dict.fromkeys(("shortest", *_PERCENTILES, "longest", "mean"))
    # "inverted_cdf" gives lengths that documents have, not interpolated ones
    lengths_at = np.percentile(lengths, list(_PERCENTILES.values()), method="inverted_cdf")
    return {
        "shortest": int(lengths.min()),
        **dict(zip(_PERCENTILES, map(int, lengths_at), strict=True)),
        "longest": int(lengths.max()),
        "mean": float(lengths.mean()),
    }


def document(prefix: Path, number: int) -> Tokens:
    """The ids of document `number`, counted from 0. Raises UsageError where there is none."""
    dataset = IndexedDataset(prefix)
    documents = dataset.document_count
    if not 0 <= number < documents:
        raise UsageError(
            f"{prefix} has no document {number:,}",
            f"its {documents:,} documents are counted from 0",
        )
    # the whole index is not checked for one document: that would read all of it
    first, end = map(int, dataset.doc_idx[number : number + 2])
    if not 0 <= first <= end <= len(dataset):
        raise DataError(f"{idx_path(prefix)} is wrong about document {number:,}", REPLACE_PAIR)
    sequences = [dataset.get(i) for i in range(first, end)]
    if not sequences:
        return dataset.tokens[:0]
    return np.concatenate(sequences)


def text(ids: Tokens, tokenizer: Tokenizer) -> str:
    """What the ids say, special tokens included; raises DataError for an unknown id."""
    for token in ids.tolist():
        if tokenizer.backend.id_to_token(token) is None:
            raise DataError(
                f"id {token} is not in tokenizer {tokenizer.name}, which has"
                f" {tokenizer.vocabulary_size:,} entries",
                "give the tokenizer that the data was made with: --tokenizer NAME|FOLDER",
            )
    with library_errors(f"tokenizer {tokenizer.name} cannot decode", MEND):
        return tokenizer.backend.decode(ids.tolist(), skip_special_tokens=False)
