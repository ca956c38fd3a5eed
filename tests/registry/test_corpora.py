"""Corpora hold what is needed to find and read them, and know their size."""

import re

from encore.registry.corpora import load_corpora


def test_corpora_hold_what_is_needed_to_read_them() -> None:
    corpora = load_corpora()
    assert {"c4", "oscar", "python", "roots", "pile", "pydocs"} == set(corpora)
    for corpus in corpora.values():
        assert corpus.licence != "not stated"
        for files in (corpus.files, *corpus.variants.values()):
            assert files.subset or files.whole
            assert files.subset is None or files.subset.count("{subset}") == 1
            for prefix in filter(None, (files.subset, files.whole)):
                assert re.fullmatch(r"[a-z0-9_]+/[A-Za-z0-9_{}]+_document", prefix)
        for name in corpus.validated_on or (corpus.name,):
            assert corpora[name].validation is not None


def test_corpora_know_their_size() -> None:
    c4, oscar = load_corpora()["c4"], load_corpora()["oscar"]
    assert (c4.tokens_per_sample, oscar.tokens_per_sample) == (478.625834583, 1312.0951072)
    assert c4.tokens == 174_635_677_947 and oscar.tokens is None
    # the paper's example: samples that hold 1.9 billion tokens
    assert round(1.9e9 / c4.tokens_per_sample) == 3_969_698
    assert round(1.9e9 / oscar.tokens_per_sample) == 1_448_066
