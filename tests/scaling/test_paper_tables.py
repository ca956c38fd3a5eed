"""The paper's tables: every task in every run, nothing invented."""

import pytest
from encore.registry.paper_data import RepetitionScore, load_paper_index, load_points
from encore.scaling import paper_tables


def test_every_table_of_the_index_can_be_written_and_no_other() -> None:
    assert set(paper_tables.TABLES) == set(load_paper_index().tables)


@pytest.mark.parametrize("name", paper_tables.TABLES)
def test_rows_have_a_cell_for_each_column(name: str) -> None:
    table = paper_tables.TABLES[name]()
    assert len(table.rows) >= 20 and len(set(table.header)) == len(table.header)
    for row in table.rows:
        assert len(row) == len(table.header) and any(row[1:])


def test_a_cell_is_the_score_with_its_spread() -> None:
    table = paper_tables.repetition()
    score = load_points("table_repetition", RepetitionScore)[0]
    (row,) = [row for row in table.rows if row[0] == score.task]
    assert row[1] == f"{score.mean:.1f} ± {score.std:.1f}"
