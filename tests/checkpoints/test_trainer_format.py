"""Layer formats: the trainer is known by its arguments, its numbers and rows are its own."""

import pytest
from encore.checkpoints import trainer_format
from encore.checkpoints.trainer_format import (
    DEEPSPEEDAI,
    DEEPSPEEDAI_BY_HEAD,
    TURKUNLP,
    RowOrder,
    TrainerFormat,
)
from encore.errors import CheckpointError
from helpers.megatron_models import SMALL


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, TURKUNLP),
        ({"num_layers": 4, "position_embedding_type": 2}, TURKUNLP),
        ({"num_key_value_heads": 4}, DEEPSPEEDAI_BY_HEAD),
        ({"num_key_value_heads": 4, "ds_sequence_parallel_fpdt": False}, DEEPSPEEDAI),
    ],
)
def test_arguments_that_no_other_fork_has_tell_the_trainer(
    arguments: dict[str, object], expected: TrainerFormat
) -> None:
    assert trainer_format.of(arguments) is expected


def test_numbers_are_places_in_the_trainers_pipeline() -> None:
    assert TURKUNLP.stored_numbers(2) == {1: 1, 3: 3, 4: 4, 6: 6}
    assert (
        DEEPSPEEDAI.stored_numbers(2)
        == DEEPSPEEDAI_BY_HEAD.stored_numbers(2)
        == {1: 1, 3: 2, 4: 3, 6: 4}
    )


@pytest.mark.parametrize("trainer", [TURKUNLP, DEEPSPEEDAI, DEEPSPEEDAI_BY_HEAD])
def test_versions_before_2_have_an_order_of_their_own(trainer: TrainerFormat) -> None:
    assert trainer_format.row_order(trainer, 0) is RowOrder.THIRDS
    assert trainer_format.row_order(trainer, 1.0) is RowOrder.CHANNELS
    assert trainer_format.row_order(trainer, 3.0) is trainer.order
    for version in (1.5, -1, float("nan")):
        with pytest.raises(CheckpointError, match="unknown checkpoint version"):
            trainer_format.row_order(trainer, version)


def schedule_of_turkunlp() -> dict[str, object]:
    return {
        "max_lr": 2e-3,
        "min_lr": 2e-4,
        "warmup_steps": 16,
        "num_steps": 70,
        "warmup_tokens": 0,
        "num_tokens": 4480,
        "decay_style": "cosine",
        "decay_steps": 160,
    }


def test_a_schedule_gets_the_keys_that_the_trainer_loads() -> None:
    """deepspeedai 4efb479 has None for what schedules by samples do not use, TurkuNLP zero."""
    saved = schedule_of_turkunlp()
    close = DEEPSPEEDAI.schedule(saved)
    assert close == {
        "max_lr": 2e-3,
        "min_lr": 2e-4,
        "lr_warmup_steps": 16,
        "num_steps": 70,
        "lr_warmup_tokens": None,
        "num_tokens": 4480,
        "lr_decay_style": "cosine",
        "lr_decay_steps": 160,
        "lr_decay_tokens": None,
    }
    assert DEEPSPEEDAI.schedule(close) == close
    assert TURKUNLP.schedule(saved) == saved
    assert TURKUNLP.schedule(close) == saved | {"decay_tokens": 0}


@pytest.mark.parametrize("source", [TURKUNLP, DEEPSPEEDAI, DEEPSPEEDAI_BY_HEAD])
@pytest.mark.parametrize("target", [TURKUNLP, DEEPSPEEDAI, DEEPSPEEDAI_BY_HEAD])
def test_arguments_tell_the_trainer_that_they_are_written_for(
    source: TrainerFormat, target: TrainerFormat
) -> None:
    before = source.arguments({"seed": 7, "position_embedding_type": None}, SMALL)
    assert trainer_format.of(before) is source
    after = target.arguments(before, SMALL)
    assert trainer_format.of(after) is target and after["seed"] == 7
    assert target is TURKUNLP or after["num_key_value_heads"] == SMALL.num_attention_heads
