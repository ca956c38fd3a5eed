"""The paper's score tables: tasks down, runs across, mean ± standard deviation in percent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from encore.registry.paper_data import (
    CodeScore,
    FilterScore,
    RepetitionScore,
    load_points,
)


@dataclass(frozen=True)
class Table:
    """A table: its columns' titles, and a row a task of which the first cell is its name."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Score = RepetitionScore | CodeScore | FilterScore


def _table(scores: Sequence[Score], column_of: Callable[[Score], str]) -> Table:
    columns = list(dict.fromkeys(column_of(score) for score in scores))
    cells = {(score.task, column_of(score)): _cell(score) for score in scores}
    rows = []
    for task in dict.fromkeys(score.task for score in scores):
        rows.append((task, *(cells.get((task, column), "") for column in columns)))
    return Table(("task", *columns), tuple(rows))


def _cell(score: Score) -> str:
    if score.mean is None:
        return ""
    if score.std is None:
        return f"{score.mean:.1f}"
    return f"{score.mean:.1f} ± {score.std:.1f}"


def repetition() -> Table:
    """Tables 4 to 9, as far as they can be had."""
    scores = load_points("table_repetition", RepetitionScore)

    def column(score: Score) -> str:
        assert isinstance(score, RepetitionScore)
        return f"{score.run}, {score.epochs} epochs"

    return _table(scores, column)


def code() -> Table:
    """Tables 10 and 11."""
    scores = load_points("table_python", CodeScore)

    def column(score: Score) -> str:
        assert isinstance(score, CodeScore)
        return f"{score.family} {score.corpus}, {score.python_pct}% Python"

    return _table(scores, column)


def _filtered(name: str) -> Table:
    def column(score: Score) -> str:
        assert isinstance(score, FilterScore)
        return f"{score.params} {score.corpus}, {score.filter}"

    return _table(load_points(name, FilterScore), column)


def perplexity_filter() -> Table:
    """Table 13."""
    return _filtered("table_perplexity")


def dedup_filter() -> Table:
    """Table 14."""
    return _filtered("table_dedup")


TABLES: dict[str, Callable[[], Table]] = {
    "repetition": repetition,
    "code": code,
    "perplexity-filter": perplexity_filter,
    "dedup-filter": dedup_filter,
}
