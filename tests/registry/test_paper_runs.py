"""The paper's runs are complete and agree with the steps that were released."""

from encore.model.config import ModelConfig
from encore.registry.models import load_models
from encore.registry.paper_runs import load_released_steps, load_runs

SEQUENCE = 2048


def test_runs_are_the_papers() -> None:
    runs = load_runs()
    assert len(runs) == 317
    in_fit = [run for run in runs.values() if run.in_fit]
    assert len(in_fit) == 182 and all(run.loss is not None for run in in_fit)
    without_loss = [run.name for run in runs.values() if run.loss is None]
    assert without_loss == [run.name for run in runs.values() if run.note == "unfinished"]
    assert runs["146m14b400m"].loss == 3.390927


def test_what_ran_agrees_with_the_steps_released() -> None:
    for run in [*load_runs().values(), *load_released_steps().values()]:
        assert run.shape is None or run.shape in load_models().shapes
        if run.train_samples and run.global_step and run.global_batch_size:
            assert run.global_step == run.train_samples // run.global_batch_size
        if run.train_samples and run.tokens:
            assert abs(run.tokens - run.train_samples * SEQUENCE) < SEQUENCE
    stated = load_runs()["146m14b400m"]
    assert (stated.global_step, stated.global_batch_size) == (21_553, 256)
    assert load_released_steps()["4b284b21boscarseed2"].global_step == 80_108
    assert not load_runs().keys() & load_released_steps().keys()


def test_a_known_runs_shape_counts_its_parameters() -> None:
    for run in load_runs().values():
        if run.shape:
            shape = load_models().shapes[run.shape]
            sizes = (shape.layers, shape.d_model, shape.heads, shape.kv_size, shape.ffw_size)
            assert ModelConfig(*sizes, SEQUENCE, 50_304).parameters == run.parameters
