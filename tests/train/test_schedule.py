"""The learning rate is Megatron's at every step."""

import re
from pathlib import Path

import pytest
from encore.errors import CheckpointError
from encore.train.schedule import Schedule
from hypothesis import given
from hypothesis import strategies as st

LOG = Path(__file__).resolve().parents[1] / "data" / "megatron_tiny" / "tp1" / "losses.log"
GENUINE = Schedule(max_lr=2e-3, min_lr=2e-4, warmup_steps=16, decay_steps=160, decay_style="cosine")


def test_the_genuine_runs_rates_are_met_to_the_last_digit() -> None:
    found = re.findall(r"consumed samples: +(\d+) .* learning rate: (\S+) ", LOG.read_text())
    assert len(found) == 20
    assert [f"{GENUINE.rate(int(samples)):.3E}" for samples, _ in found] == [
        rate for _, rate in found
    ]


@pytest.mark.parametrize("style", ["constant", "linear", "cosine", "inverse_sqrt"])
@given(samples=st.integers(0, 500))
def test_rates_stay_between_their_limits(style: str, samples: int) -> None:
    schedule = Schedule(2e-3, 2e-4, 16, 160, style)
    low = 0 if samples < 16 or style == "inverse_sqrt" else 2e-4
    assert low <= schedule.rate(samples) <= 2e-3 * (1 + 1e-12)


def test_each_style_has_its_form() -> None:
    assert [Schedule(1.0, 0.5, 10, 110, "linear").rate(n) for n in (0, 5, 10, 60, 110, 111)] == [
        *(0, 0.5, 1, 0.75, 0.5, 0.5)
    ]
    assert Schedule(1.0, 0.0, 4, 100, "inverse_sqrt").rate(16) == 0.5
    assert Schedule(1.0, 0.0, 0, 100, "constant").rate(10**6) == 1
    assert Schedule(1.0, 0.0, 10, 100, "cosine", "constant").rate(1) == 1
    assert Schedule(1.0, 0.0, 0, 100, "cosine").rate(0) == 1


def test_another_schedule_than_the_checkpoints_is_refused_unless_one_is_preferred() -> None:
    state = GENUINE.state(80, 5120)
    assert GENUINE.reconciled(state, override=False, use_checkpoint=False) == GENUINE
    other = Schedule(
        max_lr=1e-3, min_lr=2e-4, warmup_steps=16, decay_steps=320, decay_style="cosine"
    )
    with pytest.raises(
        CheckpointError, match=r"max_lr 0.002 \(now 0.001\), decay_steps 160 \(now 320\)"
    ):
        other.reconciled(state, override=False, use_checkpoint=False)
    assert other.reconciled(state, override=True, use_checkpoint=False) == other
    assert other.reconciled(state, override=False, use_checkpoint=True) == GENUINE
