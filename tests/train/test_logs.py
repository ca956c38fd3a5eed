"""Log lines and TensorBoard tags are those of the genuine run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pretrain_gpt
import pytest
import torch
from encore.errors import EncoreError
from encore.train import arguments
from encore.train.logs import Logs, Progress, StepResult
from helpers.trainer_lines import TINY, change, genuine_arguments, trainer_log
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.fixture
def lines() -> Iterator[list[str]]:
    with trainer_log() as lines:
        yield lines


def logs(tmp_path: Path, log_interval: int = 1) -> Logs:
    argv = change(
        genuine_arguments(),
        vocab_file=TINY / "vocab.json",
        merge_file=TINY / "merges.txt",
        tensorboard_dir=tmp_path / "tensorboard",
        log_interval=log_interval,
    )
    return Logs(arguments.parse(pretrain_gpt.build_parser(), argv, 2), 25_000)


def result(loss: float = 8.5) -> StepResult:
    return StepResult(torch.tensor(loss), torch.tensor(1.3), 1e-3)


def skeleton(line: str) -> str:
    """A line with 9 for every digit, without blanks and digits that depend on a number's size."""
    return re.sub(r" +9+", " 9", re.sub(r"\d", "9", line))


def tags(folder: Path) -> set[str]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {*events.Tags()["scalars"], *events.Tags()["tensors"]}


def test_lines_and_tags_are_the_genuine_runs(tmp_path: Path, lines: list[str]) -> None:
    ours = logs(tmp_path)
    ours.start(Progress())
    ours.step(result(), Progress(1, 8, 0))
    ours.validation("valid", "iteration 20", 7.97, Progress(20, 160, 16))
    ours.validation("valid", "the end of training for val data", 7.9, Progress(20, 160, 32))
    ours.close()
    genuine = (TINY / "tp1" / "losses.log").read_text().splitlines()
    assert skeleton(lines[0]) == skeleton(genuine[0])
    assert [len(part) for part in lines[0].split("|")[:3]] == [
        len(part) for part in genuine[0].split("|")[:3]
    ]
    for line, truth in zip(lines[1:], genuine[-2:], strict=True):
        rule, text, again = line.split("\n")
        assert skeleton(text) == skeleton(truth) and rule == again == "-" * (len(text) + 1)
    found, expected = tags(tmp_path / "tensorboard"), tags(TINY / "tp1" / "tensorboard")
    assert {tag for tag in expected if not tag.endswith("/text_summary")} <= found
    assert found - expected == {"vocab_size/text_summary", "dump_samples/text_summary"}


def test_a_line_gives_the_mean_since_the_last(tmp_path: Path, lines: list[str]) -> None:
    ours = logs(tmp_path, log_interval=2)
    for iteration, loss in enumerate((1.0, 2.0, 3.0, 5.0), start=1):
        ours.step(result(loss), Progress(iteration, 8 * iteration, 0))
    ours.close()
    assert [re.findall(r"lm loss: (\S+)", line) for line in lines] == [
        ["1.500000E+00"],
        ["4.000000E+00"],
    ]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(bad: float, tmp_path: Path) -> None:
    ours = logs(tmp_path, log_interval=3)
    ours.step(result(bad), Progress(1, 8, 0))
    ours.step(result(), Progress(2, 16, 0))
    with pytest.raises(EncoreError, match="not a finite number"):
        ours.step(result(), Progress(3, 24, 0))
    with pytest.raises(EncoreError, match="not a finite number"):
        ours.check()


def test_the_flop_estimate_is_megatrons(tmp_path: Path) -> None:
    ours = logs(tmp_path)
    flops = 24 * 3 * 8 * 64 * 2 * 32**2 * (1 + 64 / (6 * 32) + 5120 / (16 * 2 * 32))
    assert ours.teraflops(0.5) == pytest.approx(flops / 0.5 / 2 / 1e12)
