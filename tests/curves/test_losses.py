"""Losses from event files: a genuine run's, a resumed run's, and what holds none."""

from pathlib import Path

import pytest
from encore.curves import losses
from encore.errors import DataError
from helpers.event_files import GENUINE, write_scalars


def test_a_genuine_megatron_run_is_read() -> None:
    curve = losses.training_curve(GENUINE)
    assert curve.tokens == tuple(range(512, 10241, 512))
    assert (curve.losses[0], curve.losses[-1]) == (pytest.approx(8.477701), pytest.approx(7.921674))
    (valid,) = losses.validation_curves(GENUINE)
    assert valid.label == "valid"


def test_a_step_logged_again_after_a_resume_counts_once(tmp_path: Path) -> None:
    logged = [{1: 5.0, 2: 4.0, 3: 3.9}, {3: 3.0, 4: 2.0}]
    for start, losses_by_tokens in enumerate(logged):
        rows = []
        for tokens, loss in losses_by_tokens.items():
            rows.append((start * 100.0, tokens, "lm-loss-training/lm loss vs tokens", loss))
        write_scalars(tmp_path / f"events.out.tfevents.{start}.host", rows)
    curve = losses.training_curve(tmp_path)
    assert (curve.tokens, curve.losses) == ((1, 2, 3, 4), (5.0, 4.0, 3.0, 2.0))


def test_a_folder_without_events_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=str(tmp_path)):
        losses.training_curve(tmp_path)


def test_losses_at_unknown_tokens_are_refused(tmp_path: Path) -> None:
    rows = [(1.0, step, "lm-loss-training/lm loss", 5.0) for step in (1, 2)]
    write_scalars(tmp_path / "events.out.tfevents.1.host", rows)
    with pytest.raises(DataError, match="does not say at which tokens"):
        losses.training_curve(tmp_path)
