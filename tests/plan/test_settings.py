"""Overrides: types, ranges, unknown keys, and the way back to text."""

import pytest
from encore.errors import UnknownNameError, UsageError
from encore.plan import settings
from hypothesis import given
from hypothesis import strategies as st


def test_values_take_the_type_of_their_key() -> None:
    chosen = settings.parse(
        ["lr=1.0e-4", "global_batch_size=1_024", "large_scale=true", "partition=small-g", "seed=0"]
    )
    assert (chosen.lr, chosen.global_batch_size, chosen.large_scale, chosen.partition) == (
        1e-4,
        1024,
        True,
        "small-g",
    )
    assert chosen.seed == 0


def test_zero_and_false_are_values_not_absence() -> None:
    chosen = settings.parse(["dropout=0", "activation_checkpointing=false"])
    assert settings.choose(chosen.dropout, 0.1) == 0
    assert settings.choose(chosen.activation_checkpointing, True) is False
    assert settings.choose(chosen.lr, 0.1) == 0.1


@pytest.mark.parametrize(
    "assignment",
    [
        *(
            "lr",
            "lr=",
            "lr=fast",
            "lr=-1",
            "lr=nan",
            "lr=inf",
            "lr=0",
            "global_batch_size=1.5",
            "micro_batch_size=0",
        ),
        *("precision=fp8", "large_scale=yes", "launch=mpi", "=1", "lr==1"),
    ],
)
def test_a_wrong_value_is_refused(assignment: str) -> None:
    with pytest.raises(UsageError):
        settings.parse([assignment])


def test_an_unknown_key_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as raised:
        settings.parse(["global_batchsize=4"])
    assert "global_batch_size" in raised.value.hint


def test_a_key_may_stand_once() -> None:
    with pytest.raises(UsageError, match="twice"):
        settings.parse(["seed=1", "seed=2"])


@given(st.integers(1, 10**9), st.floats(1e-9, 1e9), st.booleans())
def test_settings_round_trip_through_text(batch: int, lr: float, checkpointing: bool) -> None:
    chosen = settings.Settings(
        global_batch_size=batch, lr=lr, activation_checkpointing=checkpointing
    )
    assert settings.parse(settings.as_assignments(chosen)) == chosen
