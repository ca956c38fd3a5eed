"""Curves of a run: restarts merged by time of writing, Megatron's axes as columns where exact."""

import numpy as np
import pytest
from encore.curves import event_file, tags
from encore.curves.curve import Curve, merge_event_files, moving_average
from encore.curves.event_file import EventFile, Series
from helpers.event_files import GENUINE
from hypothesis import given
from hypothesis import strategies as st

LOSS = tags.TRAINING_LOSS
MAP = tags.STEPS_VS.format(unit="samples")


def series(steps: list[int], values: list[float], start_s: float = 0.0) -> Series:
    return Series(
        np.array(steps, np.int64), np.array(values, float), start_s + np.arange(len(steps))
    )


def of(*files: dict[str, Series], fold: bool = True) -> dict[str, Curve]:
    return merge_event_files([EventFile(written, None) for written in files], fold)


def megatron(
    steps: list[int], values: list[float], batch: int = 8, start_s: float = 0.0
) -> dict[str, Series]:
    """A file of losses against steps, samples and tokens."""
    counts = {"": 1, tags.SUFFIXES["samples"]: batch, tags.SUFFIXES["tokens"]: batch * 64}
    return {
        LOSS + suffix: series([step * count for step in steps], values, start_s)
        for suffix, count in counts.items()
    }


def test_of_two_values_for_a_step_the_later_written_counts() -> None:
    first = series([1, 2, 3, 4], [5.0, 4.0, 3.5, 3.4])
    resumed = series([3, 4, 5], [3.0, 2.5, 2.0], start_s=100)
    for files in ([first, resumed], [resumed, first]):  # by wall time, not by the order of files
        (curve,) = of(*({"loss": part} for part in files)).values()
        assert curve.steps.tolist() == [1, 2, 3, 4, 5]
        assert curve.values.tolist() == [5.0, 4.0, 3.0, 2.5, 2.0]


def test_at_the_same_time_the_later_file_and_the_later_record_count() -> None:
    at = np.zeros(2)
    first = Series(np.array([1, 1]), np.array([1.0, 2.0]), at)
    second = Series(np.array([1, 2]), np.array([3.0, 4.0]), at)
    assert of({"a": first}, {"a": second})["a"].values.tolist() == [3.0, 4.0]
    assert of({"a": first})["a"].values.tolist() == [2.0]


@given(
    parts=st.lists(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20)), max_size=12),
        min_size=1,
        max_size=4,
    )
)
def test_merging_is_what_a_dictionary_does_in_the_order_of_time(
    parts: list[list[tuple[int, int]]],
) -> None:
    writings = []
    files = []
    for part in parts:
        steps = np.array([step for step, _ in part], np.int64)
        times = np.array([time for _, time in part], float)
        values = np.arange(len(writings), len(writings) + len(part), dtype=float)
        writings += list(zip(times.tolist(), steps.tolist(), values.tolist(), strict=True))
        files.append({"a": Series(steps, values, times)} if part else {})
    expected = {step: value for _, step, value in sorted(writings, key=lambda row: row[0])}
    merged = {}
    for curve in of(*files).values():
        merged = dict(zip(curve.steps.tolist(), curve.values.tolist(), strict=True))
    assert merged == dict(sorted(expected.items()))


def test_megatrons_three_tags_become_one_curve() -> None:
    curves = of(megatron([1, 2, 3], [5.0, 4.0, float("nan")]))
    assert list(curves) == [LOSS]
    assert curves[LOSS].samples.tolist() == [8, 16, 24]
    assert curves[LOSS].tokens.tolist() == [512, 1024, 1536]
    assert len(of(megatron([1], [5.0]), fold=False)) == 3


def test_a_file_cut_off_between_the_tags_leaves_the_last_count_unknown() -> None:
    written = megatron([1, 2, 3], [5.0, 4.0, 3.0])
    tokens = LOSS + tags.SUFFIXES["tokens"]
    written[tokens] = series([512, 1024], [5.0, 4.0])
    curve = of(written)[LOSS]
    assert curve.samples.tolist() == [8, 16, 24] and curve.tokens.tolist() == [512, 1024, None]


def test_other_values_under_another_axis_stay_a_curve_of_their_own() -> None:
    written, samples = megatron([1, 2], [5.0, 4.0]), LOSS + tags.SUFFIXES["samples"]
    written[samples] = series([8, 16], [5.0, 4.5])
    curves = of(written)
    assert curves[LOSS].samples.tolist() == [None, None]
    assert curves[LOSS].tokens.tolist() == [512, 1024]
    assert curves[samples].samples.tolist() == [8, 16]
    assert curves[samples].steps.tolist() == [None, None]


def test_a_number_written_less_often_against_samples_is_not_taken_for_the_same_steps() -> None:
    every_other = {
        "batch": series([1, 2, 3, 4], [8.0] * 4),
        "batch vs samples": series([16, 32], [8.0] * 2),
    }
    curves = of(every_other)
    assert curves["batch"].samples.tolist() == [None] * 4
    assert curves["batch vs samples"].samples.tolist() == [16, 32]


def test_a_run_resumed_with_another_batch_size_keeps_no_stale_samples() -> None:
    first = megatron([1, 2, 3], [5.0, 4.0, 3.0], batch=8)
    resumed = megatron([2, 3], [4.1, 3.1], batch=16, start_s=50)
    curve = of(first, resumed)[LOSS]
    assert curve.samples.tolist() == [8, 32, 48] and curve.values.tolist() == [5.0, 4.1, 3.1]


def test_a_tag_without_companions_learns_samples_from_steps_against_samples() -> None:
    curves = of(
        {"speed": series([1, 2, 4], [9.0, 8.0, 7.0]), MAP: series([8, 16, 24], [1.0, 2.0, 3.0])}
    )
    assert list(curves) == ["speed"]
    assert curves["speed"].samples.tolist() == [8, 16, None]
    assert curves["speed"].tokens.tolist() == [None] * 3


def test_steps_that_float32_cannot_tell_apart_teach_nothing() -> None:
    curves = of({"speed": series([1 << 24], [9.0]), MAP: series([8], [float(1 << 24)])})
    assert curves["speed"].samples.tolist() == [None] and MAP in curves


def test_a_number_that_stands_against_tokens_alone_is_a_curve_along_tokens() -> None:
    curves = of({LOSS + tags.SUFFIXES["tokens"]: series([512, 1024], [5.0, 4.0])})
    assert curves[LOSS].tokens.tolist() == [512, 1024] and curves[LOSS].steps.tolist() == [
        None,
        None,
    ]


def test_a_genuine_run_knows_samples_and_tokens_of_every_step() -> None:
    curves = merge_event_files([event_file.read(path) for path in GENUINE.iterdir()])
    assert not [tag for tag in curves if " vs " in tag or "-vs-" in tag]
    for tag, curve in curves.items():
        # before the first step, Megatron writes no counts
        samples = [step * 8 if step else None for step in curve.steps.tolist()]
        tokens = [step * 512 if step else None for step in curve.steps.tolist()]
        assert curve.samples.tolist() == samples, tag
        assert curve.tokens.tolist() == tokens, tag
    assert len(curves) == 14


def test_the_moving_average_is_tensorboards() -> None:
    curves = moving_average(np.array([1.0, 0.5, 0.0]), 0.6)
    assert curves == pytest.approx(
        [1.0, (0.4 * 0.6 + 0.2) / 0.64, (0.4 * 0.36 + 0.2 * 0.6) / 0.784]
    )
    noisy = np.array([1.0, np.nan, np.inf, 2.0])
    assert repr(moving_average(noisy, 0.0)) == repr(noisy)
    assert np.isfinite(moving_average(noisy, 0.9)).tolist() == [True, False, False, True]


def test_the_moving_average_of_a_long_curve_follows_its_mean() -> None:
    smooth = moving_average([1.0, 3.0] * 200, 0.9)
    assert len(smooth) == 400
    assert smooth[-1] == pytest.approx(2.0, abs=0.1)
