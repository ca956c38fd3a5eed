"""Losses from event files: a genuine run's, a resumed run's, and what holds none."""

from pathlib import Path

import pytest
from encore.curves import losses
from encore.errors import DataError

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny" / "tp1" / "tensorboard"


def test_a_genuine_megatron_run_is_read() -> None:
    curve = losses.training_curve(GENUINE)
    assert curve.tokens == tuple(range(512, 10241, 512))
    assert (curve.losses[0], curve.losses[-1]) == (pytest.approx(8.477701), pytest.approx(7.921674))
    (valid,) = losses.validation_curves(GENUINE)
    assert valid.label == "valid"


def test_a_step_logged_again_after_a_resume_counts_once(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for logged in ({1: 5.0, 2: 4.0, 3: 3.9}, {3: 3.0, 4: 2.0}):
        with SummaryWriter(str(tmp_path)) as writer:
            for step, loss in logged.items():
                writer.add_scalar("lm-loss-training/lm loss vs tokens", loss, step)
    curve = losses.training_curve(tmp_path)
    assert (curve.tokens, curve.losses) == ((1, 2, 3, 4), (5.0, 4.0, 3.0, 2.0))


def test_a_folder_without_events_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        losses.training_curve(tmp_path)


def test_smoothing_keeps_few_points_and_the_length_of_many() -> None:
    assert losses.smoothed([3.0, 2.0, 1.0]) == [3.0, 2.0, 1.0]
    noisy = [1.0, 3.0] * 200
    assert len(losses.smoothed(noisy)) == 400
    assert losses.smoothed(noisy)[-1] == pytest.approx(2.0)
