"""Trainers are pinned to whole commits, and what sets one apart is among its own arguments."""

import re

import pytest
from encore.registry.trainers import Trainer, load_trainers


def test_commits_are_whole() -> None:
    for trainer in load_trainers().values():
        for pin in trainer.commits.values():
            assert pin.commit is None or re.fullmatch(r"[0-9a-f]{40}", pin.commit)


@pytest.mark.parametrize("trainer", load_trainers().values(), ids=lambda trainer: trainer.name)
def test_the_arguments_that_set_a_trainer_apart_are_its_own(trainer: Trainer) -> None:
    assert (trainer.exit_signal is None) == (trainer.exit_signal_argument is None)
    for pin in trainer.commits.values():
        if pin.commit is None:  # the built-in trainer: its own parser is their home
            continue
        assert all(argument.startswith("--") for argument in pin.with_value | pin.without_value)
        assert not pin.with_value & pin.without_value
        assert {trainer.stop_file_argument, trainer.exit_duration_argument} <= pin.with_value
        if trainer.exit_signal_argument is not None:
            assert trainer.exit_signal_argument in pin.without_value
        has_split_paths = "--train-weighted-split-paths-path" in pin.with_value
        assert has_split_paths == (trainer.data == "weighted-split-paths")
        added = {word for word in pin.adds.split() if word.startswith("--")}
        assert added <= pin.with_value
        assert trainer.ranges or not pin.ignores_ranges


def test_turkunlp_is_pinned_per_objective() -> None:
    pins = load_trainers()["turkunlp"].commits
    causal, ul2 = pins["causal"], pins["ul2"]
    assert (causal.commit or "")[:7] == "6732bc9" and causal.entry == "pretrain_gpt.py"
    assert (ul2.commit or "")[:7] == "a1088c1" and ul2.entry == "pretrain_ul2.py"
    assert ul2.ignores_ranges and ul2.warning
