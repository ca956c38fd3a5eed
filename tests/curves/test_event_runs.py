"""Runs are found by their event files, have distinct names, and are read as far as possible."""

from pathlib import Path

import numpy as np
import pytest
from encore.curves import event_runs
from encore.errors import DataError
from helpers.event_files import GENUINE, write_scalars


def run(folder: Path, *steps: int) -> Path:
    write_scalars(
        folder / "events.out.tfevents.1.host", [(100.0 + s, s, "loss", 5.0) for s in steps or (1,)]
    )
    return folder


def test_a_run_is_called_as_its_folder(tmp_path: Path) -> None:
    for name in ("146m14b", "tensorboard_146m14b400m", "other/tensorboard"):
        run(tmp_path / name)
    assert set(event_runs.folders([tmp_path])) == {"146m14b", "146m14b400m", "other"}


def test_runs_of_the_same_name_are_told_apart_by_the_folders_above(tmp_path: Path) -> None:
    a, b = run(tmp_path / "seed1" / "146m14b"), run(tmp_path / "seed2" / "146m14b")
    c, d = run(tmp_path / "x" / "tensorboard_c"), run(tmp_path / "x" / "c")
    found = event_runs.folders([a, b, c, d, a])
    assert {name: found[name] for name in ("seed1/146m14b", "seed2/146m14b")} == {
        "seed1/146m14b": a.resolve(),
        "seed2/146m14b": b.resolve(),
    }
    assert set(found.values()) == {path.resolve() for path in (a, b, c, d)}


def test_no_folder_and_no_events_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no event files"):
        event_runs.folders([tmp_path])
    with pytest.raises(DataError, match="is not a folder"):
        event_runs.folders([tmp_path / "missing"])


def test_damage_keeps_what_is_before_it(tmp_path: Path) -> None:
    run(tmp_path, *range(50))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    found = event_runs.read("a", tmp_path)
    assert len(found.curves["loss"]) == 49
    assert [damage.path for damage in found.damage] == [file]


def test_a_run_of_which_nothing_can_be_read_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.host").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\n"
    )
    with pytest.raises(DataError, match=r"holds no scalars.*git-lfs pointer"):
        event_runs.read("a", tmp_path)


def test_places_along_each_axis() -> None:
    found = event_runs.read("tiny", GENUINE)
    tag = "lm-loss-training/lm loss"
    assert found.along(tag, "steps")[0].tolist() == list(range(1, 21))
    assert found.along(tag, "tokens")[0].tolist() == list(range(512, 10241, 512))
    hours, values = found.along(tag, "hours")
    assert hours[0] == pytest.approx((found.curves[tag].times_s[0] - found.start_s) / 3600)
    assert np.all(np.diff(hours) > 0) and len(values) == 20
    assert list(found.only([tag, "nothing"]).curves) == [tag]
