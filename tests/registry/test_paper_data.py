"""The published numbers: whole, and as the paper's README describes them."""

import pytest
from encore import kit
from encore.registry import paper_data
from encore.registry.paper_data import (
    CurvePoint,
    HistogramBin,
    MupPoint,
    StrategyScore,
    load_paper_index,
    load_points,
)


def test_every_file_that_an_item_names_is_there_and_every_file_is_named() -> None:
    index = load_paper_index()
    named = set()
    for item in (*index.figures.values(), *index.tables.values()):
        named.update(item.data)
    for name in named:
        assert (kit.ROOT / "registry" / name).is_file()
    present = {f"paper/{path.name}" for path in (kit.ROOT / "registry" / "paper").glob("*.csv")}
    assert present <= named


@pytest.mark.parametrize("corpus", ["c4", "oscar"])
def test_a_histogram_counts_100_000_documents(corpus: str) -> None:
    bins = load_points("perplexity_histogram", HistogramBin)
    assert sum(one.count for one in bins if one.corpus == corpus) == 100_000


def test_mup_is_worse_in_six_of_seven_points() -> None:
    points = load_points("mup", MupPoint)
    assert [one.loss_mup > one.loss_sp for one in points].count(True) == 6 and len(points) == 7


def test_two_oscar_curves_are_the_same_in_the_source() -> None:
    curves: dict[str, list[tuple[float, float]]] = {}
    for point in load_points("curves_validation", CurvePoint):
        curves.setdefault(point.run, []).append((point.tokens, point.loss))
    assert curves["2b855b14boscar"] == curves["2b855b18boscar"]


def test_strategies_without_a_spread_are_single_runs() -> None:
    for score in load_points("strategies", StrategyScore):
        assert (score.std is None) == (score.n_runs == 1)


def test_the_index_names_no_item_twice() -> None:
    index = paper_data.load_paper_index()
    assert not set(index.figures) & set(index.tables)
