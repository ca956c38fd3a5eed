"""The command as users type it: list, draw, own, what it refuses."""

import json
from pathlib import Path

import draw_figures
import pytest
from encore import kit
from encore.registry.paper_data import load_paper_index
from encore.scaling import paper_figures
from helpers.commands import run_command


def test_the_command_offers_what_can_be_drawn() -> None:
    """Its help must not load matplotlib, so it states these itself."""
    assert draw_figures._FORMATS == paper_figures.FORMATS
    assert set(draw_figures._OWN) == set(paper_figures.OWN_FIGURES)


def test_the_list_has_every_item_with_what_it_needs() -> None:
    ended = run_command("draw_figures", "list", "--json")
    index = load_paper_index()
    records = json.loads(ended.stdout)
    assert [record["name"] for record in records] == [*index.figures, *index.tables]
    assert all(record["data"] and record["caption"] for record in records)
    assert "figure 9" in run_command("draw_figures", "list").stdout


def test_a_figure_by_number_and_a_table_by_name(tmp_path: Path) -> None:
    ended = run_command(
        "draw_figures", "draw", "9", "code", "--out", tmp_path / "f", "--format", "svg", "png"
    )
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == [
        "code.csv",
        "mup.png",
        "mup.svg",
    ]
    assert "muP is worse in six of seven points" in ended.stderr


@pytest.mark.slow
def test_all_are_drawn(tmp_path: Path) -> None:
    ended = run_command("draw_figures", "draw", "--all", "--out", tmp_path)
    assert ended.returncode == 0, ended.stderr
    index = load_paper_index()
    expected = {f"{name}.pdf" for name in index.figures} | {f"{name}.csv" for name in index.tables}
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.slow
def test_figures_of_ones_own_runs(tmp_path: Path) -> None:
    ended = run_command(
        "draw_figures",
        *("own", "return", "--runs", kit.ROOT / "registry" / "runs.csv"),
        *("--out", tmp_path, "--format", "svg"),
    )
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["own-return.svg"]


@pytest.mark.parametrize(
    "words,code,said",
    [
        (("draw", "--out", "f"), 2, "name figures, or take --all"),
        (("draw", "9", "--all", "--out", "f"), 2, "name figures, or take --all"),
        (("draw", "retrun", "--out", "f"), 2, "return"),
        (("draw", "7", "--out", "f"), 2, "figure or table '7'"),
        (("own", "mup", "--runs", "x.csv", "--out", "f"), 2, "isoloss"),
        (("own", "return", "--runs", "x.csv", "--out", "f"), 1, "x.csv"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_writes_nothing(
    words: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    ended = run_command("draw_figures", *words, cwd=tmp_path)
    assert ended.returncode == code and said in ended.stderr
    assert "Traceback" not in ended.stderr and list(tmp_path.iterdir()) == []
