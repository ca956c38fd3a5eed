"""A .bin/.idx pair as people ask about it: how much it holds, and what document n says."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encore.errors import DataError, UsageError
from encore.tokens.indexed import REPLACE_PAIR, Index, IndexedDataset, Tokens, bin_path, idx_path
from encore.tokens.tokenizer import Tokenizer

_PERCENTILES = {"p10": 10, "median": 50, "p90": 90, "p99": 99}


def document_lengths(index: Index) -> npt.NDArray[np.int64]:
    """Tokens of each document (d - 1,), which may be of several sequences (Megatron's --split-sentences)."""
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(index.sizes, dtype=np.int64)])
    return np.diff(ends[index.doc_idx])


def describe(prefix: Path) -> dict[str, Any]:
    """Documents, tokens, dtype, bytes and how long documents are (in tokens; None of each when there are none)."""
    dataset = IndexedDataset(prefix)
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
    places = np.percentile(lengths, list(_PERCENTILES.values()), method="inverted_cdf")
    middle = dict(zip(_PERCENTILES, map(int, places), strict=True))
    return {
        "shortest": int(lengths.min()),
        **middle,
        "longest": int(lengths.max()),
        "mean": float(lengths.mean()),
    }


def document(prefix: Path, number: int) -> Tokens:
    """The ids of document `number`, counted from 0. Raises UsageError when there is none."""
    dataset = IndexedDataset(prefix)
    documents = dataset.document_count
    if not 0 <= number < documents:
        raise UsageError(
            f"{prefix} has no document {number:,}",
            f"its {documents:,} documents are counted from 0",
        )
    first, end = map(int, dataset.doc_idx[number : number + 2])
    if not 0 <= first <= end <= len(dataset):
        raise DataError(f"{idx_path(prefix)} is wrong about document {number:,}", REPLACE_PAIR)
    return np.concatenate([dataset.get(i) for i in range(first, end)] or [dataset.tokens[:0]])


def text(ids: Tokens, tokenizer: Tokenizer) -> str:
    """What the ids say, special tokens included. Raises DataError for one that the tokenizer does not have."""
    strange = [int(token) for token in ids if tokenizer.backend.id_to_token(int(token)) is None]
    if strange:
        raise DataError(
            f"id {strange[0]} is not in tokenizer {tokenizer.name}, of {tokenizer.vocabulary_size:,} entries",
            "give the tokenizer that the data was made with",
        )
    return tokenizer.backend.decode(ids.tolist(), skip_special_tokens=False)
