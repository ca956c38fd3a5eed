"""Pictures of runs: what is drawn, and where epochs are marked."""

import dataclasses
import re
from pathlib import Path

import pytest
from encore.curves import event_runs, plot
from encore.curves.event_runs import EventRun
from encore.curves.view import FEW_POINTS, View
from encore.errors import DataError, UsageError
from helpers.event_files import GENUINE, write_scalars

LOSS = "lm-loss-training/lm loss"
ALONG_TOKENS = View(axis="tokens")


@pytest.fixture(scope="module")
def tiny() -> EventRun:
    return event_runs.read("tiny", GENUINE)


def loss_run(folder: Path, name: str, points: int) -> EventRun:
    rows = []
    for step in range(1, points + 1):
        loss = 5 / step + step % 2
        rows.append((1e9 + step, step, LOSS, loss))
        rows.append((1e9 + step, step * 512, f"{LOSS} vs tokens", loss))
    write_scalars(folder / name / "events.out.tfevents.1.host", rows)
    return event_runs.read(name, folder / name)


def svg_of_losses(folder: Path, runs: list[EventRun], view: View) -> str:
    """The picture as text, in which matplotlib leaves each text as a comment."""
    target = folder / "loss.svg"
    plot.draw_losses(runs, "a run", target, view)
    return target.read_text(encoding="utf-8")


def epoch_lines(svg: str) -> int:
    """Lines in the grey of epochs, which nothing else in a picture of losses has."""
    return svg.count("stroke: #cccccc")


@pytest.mark.parametrize("extension", ["png", "svg", "pdf"])
def test_a_picture_is_written_whole(extension: str, tiny: EventRun, tmp_path: Path) -> None:
    target = tmp_path / f"loss.{extension}"
    plot.draw_losses([tiny], "a run", target, dataclasses.replace(ALONG_TOKENS, unique_tokens=3000))
    assert target.stat().st_size > 5000
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_losses_share_a_panel_with_title_units_and_a_legend(tiny: EventRun, tmp_path: Path) -> None:
    svg = svg_of_losses(tmp_path, [tiny], ALONG_TOKENS)
    texts = re.findall(r"<!-- (.*?) -->", svg)
    assert {"a run", "tokens", "loss (nats per token)", "training", "valid"} <= set(texts)
    assert not any("ppl" in text for text in texts)


def test_losses_of_several_runs_are_told_apart_by_name(tmp_path: Path) -> None:
    runs = [loss_run(tmp_path, name, 60) for name in ("one", "_two $x$")]
    svg = svg_of_losses(tmp_path, runs, ALONG_TOKENS)
    assert "<!-- one, training -->" in svg and "<!-- _two $x$, training -->" in svg


@pytest.mark.parametrize(("unique_tokens", "lines"), [(3000, 3), (10239, 1), (10240, 0), (9**9, 0)])
def test_a_line_marks_every_epoch_that_begins_within_the_curve(
    unique_tokens: int, lines: int, tiny: EventRun, tmp_path: Path
) -> None:
    assert tiny.curves[LOSS].tokens[-1] == 10240
    view = dataclasses.replace(ALONG_TOKENS, unique_tokens=unique_tokens)
    assert epoch_lines(svg_of_losses(tmp_path, [tiny], view)) == lines
    target = tmp_path / "panels.svg"
    plot.draw_panels([tiny.only([LOSS])], target, view)
    assert epoch_lines(target.read_text(encoding="utf-8")) == lines


def test_epochs_are_marked_along_tokens_alone(tiny: EventRun, tmp_path: Path) -> None:
    view = View(axis="samples", unique_tokens=100)
    assert epoch_lines(svg_of_losses(tmp_path, [tiny], view)) == 0


def test_more_epochs_than_can_be_told_apart_are_refused(tiny: EventRun, tmp_path: Path) -> None:
    view = dataclasses.replace(ALONG_TOKENS, unique_tokens=4)
    with pytest.raises(UsageError, match="epochs of 4 unique tokens"):
        svg_of_losses(tmp_path, [tiny], view)
    assert list(tmp_path.iterdir()) == []


def test_smoothing_leaves_short_curves_as_they_are(tmp_path: Path) -> None:
    smooth = dataclasses.replace(ALONG_TOKENS, smoothing=0.9)
    for points, is_smoothed in ((FEW_POINTS - 1, False), (FEW_POINTS, True)):
        runs = [loss_run(tmp_path, f"{points} points", points)]
        plain = svg_of_losses(tmp_path, runs, ALONG_TOKENS)
        assert (svg_of_losses(tmp_path, runs, smooth) != plain) == is_smoothed


def test_losses_at_unknown_tokens_are_refused(tmp_path: Path) -> None:
    rows = [(1e9 + step, step, LOSS, 5.0) for step in (1, 2)]
    write_scalars(tmp_path / "run" / "events.out.tfevents.1.host", rows)
    run = event_runs.read("run", tmp_path / "run")
    with pytest.raises(DataError, match="no loss is known along tokens"):
        plot.draw_losses([run], "a run", tmp_path / "loss.png", ALONG_TOKENS)
    assert not (tmp_path / "loss.png").exists()
