"""Families of training defaults."""

from encore.registry.corpora import load_corpora
from encore.registry.models import load_models
from encore.registry.regimes import load_regimes
from encore.registry.tokenizers import load_tokenizers


def test_every_regime_covers_every_size_and_trains_an_existing_corpus() -> None:
    for regime in load_regimes().values():
        assert regime.batch.sizes[-1].below_parameters is None
        assert regime.data.corpus in load_corpora()
        assert regime.data.tokenizer in load_tokenizers()
    assert {shape.regime for shape in load_models().shapes.values()} == set(load_regimes())
