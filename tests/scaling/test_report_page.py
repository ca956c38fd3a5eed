"""The page of a fit: whole, self-contained, the same twice."""

import pytest
from encore.scaling import analysis, laws, report_page, runs, validation


@pytest.mark.slow
def test_the_page_holds_every_table_and_needs_nothing_else() -> None:
    paper = runs.of_paper()
    result = analysis.analyse(laws.DATA_ONLY, paper, replicates=50)
    scores = validation.cross_validate([laws.DATA_ONLY], paper)
    page = report_page.page(result, scores, 1e22, 25e9)
    for text in ("<h1>only repeated tokens decay", "Minima", "95% intervals", "extrapolated"):
        assert text in page
    assert page.count("<svg") == 3 and "http-equiv" in page
    assert "<script" not in page and "src=" not in page
    assert report_page.page(result, scores, 1e22, 25e9) == page
