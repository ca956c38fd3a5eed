"""The paper's figures: every one draws, what they state of the data holds, twice the same bytes."""

from pathlib import Path

import numpy as np
import pytest
from encore.errors import DataError, UsageError
from encore.registry.paper_data import load_paper_index
from encore.scaling import analysis, laws, paper_figures, runs
from encore.scaling.runs import Points, Runs


def test_every_figure_of_the_index_can_be_drawn_and_no_other() -> None:
    assert set(paper_figures.FIGURES) == set(load_paper_index().figures)


@pytest.mark.slow
@pytest.mark.parametrize("name", paper_figures.FIGURES)
def test_a_figure_has_panels_with_labels_and_data(name: str) -> None:
    figure = paper_figures.FIGURES[name]()
    panels = [axes for axes in figure.axes if axes.get_xlabel()]
    assert panels
    for axes in panels:
        assert axes.has_data()
        for line in axes.get_lines():
            values = np.asarray(line.get_ydata(), float)
            assert np.isfinite(values).all() and len(values)


@pytest.mark.parametrize("extension", paper_figures.FORMATS)
def test_the_same_figure_is_the_same_bytes(tmp_path: Path, extension: str) -> None:
    targets = [tmp_path / f"{number}.{extension}" for number in range(2)]
    for target in targets:
        paper_figures.draw(paper_figures.mup, [target])
    first, second = (target.read_bytes() for target in targets)
    assert first == second and len(first) > 3000


def test_another_format_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a picture ends in"):
        paper_figures.draw(paper_figures.mup, [tmp_path / "a.png", tmp_path / "a.gif"])
    assert list(tmp_path.iterdir()) == []


def misses(measured: Runs) -> np.ndarray:
    theta = analysis.published_theta()
    points = Points(measured.params, measured.tokens, measured.unique_tokens)
    predicted = np.exp(laws.REPETITION.evaluate(theta[None], points)[0][0])
    return predicted / measured.loss - 1


def test_the_captions_say_how_far_the_published_law_is_from_the_runs() -> None:
    index = load_paper_index()
    figure_1 = paper_figures._named([f"4b2{tokens}b12b" for tokens in (12, 24, 36, 48, 60, 72, 84)])
    low, high = -misses(figure_1).max(), -misses(figure_1).min()
    assert f"{100 * low:.0f} to {100 * high:.0f}% below" in index.figures["compute-return"].caption
    figure_5 = paper_figures._named(["8b7178b178b", "4b284b6b", "2b855b1b25"])
    assert misses(figure_5) == pytest.approx([-0.062, -0.094, -0.211], abs=6e-4)


def test_the_lowest_measured_losses_are_those_of_the_captions() -> None:
    measured = paper_figures._finished(unique=100e6)
    best = measured.loss.argmin()
    assert len(measured) == 93 and measured.names[best] == "146m5b9100m"
    assert f"{measured.loss[best]:.3f}" in load_paper_index().figures["isoloss-100m"].caption
    assert len(paper_figures._finished(unique=400e6)) == 34
    assert len(paper_figures._finished(unique=1.5e9)) == 37


def test_too_few_runs_of_ones_own_make_no_picture() -> None:
    paper = runs.of_paper()
    fresh = paper.subset(paper.epochs == 1)
    lone = fresh.subset(np.unique(fresh.unique_tokens, return_index=True)[1])
    with pytest.raises(DataError, match="there is no contour"):
        paper_figures.own_isoloss(lone)
    with pytest.raises(DataError, match="there is no curve"):
        paper_figures.own_return(lone)
