"""Layer formats: the trainer is known by its arguments, its numbers and rows are its own."""

import pytest
from encore.checkpoints import layer_format
from encore.checkpoints.layer_format import CLOSE, CLOSE_BY_HEAD, SPACED, LayerFormat, RowOrder
from encore.errors import CheckpointError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, SPACED),
        ({"num_layers": 4, "position_embedding_type": 2}, SPACED),
        ({"num_key_value_heads": 4}, CLOSE_BY_HEAD),
        ({"num_key_value_heads": 4, "ds_sequence_parallel_fpdt": False}, CLOSE),
    ],
)
def test_arguments_that_no_other_fork_has_tell_the_trainer(
    arguments: dict[str, object], expected: LayerFormat
) -> None:
    assert layer_format.of(arguments) is expected


def test_numbers_are_places_in_the_trainers_pipeline() -> None:
    assert SPACED.stored_numbers(2) == {1: 1, 3: 3, 4: 4, 6: 6}
    assert CLOSE.stored_numbers(2) == CLOSE_BY_HEAD.stored_numbers(2) == {1: 1, 3: 2, 4: 3, 6: 4}


@pytest.mark.parametrize("trainer", [SPACED, CLOSE, CLOSE_BY_HEAD])
def test_versions_before_2_have_an_order_of_their_own(trainer: LayerFormat) -> None:
    assert layer_format.row_order(trainer, 0) is RowOrder.THIRDS
    assert layer_format.row_order(trainer, 1.0) is RowOrder.CHANNELS
    assert layer_format.row_order(trainer, 3.0) is trainer.order
    for version in (1.5, -1, float("nan")):
        with pytest.raises(CheckpointError, match="unknown checkpoint version"):
            layer_format.row_order(trainer, version)
