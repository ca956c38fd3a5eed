"""Megatron-DeepSpeed checkpoints: all kinds of files give the same weights, damage is named."""

from dataclasses import replace
from pathlib import Path

import pretrain_gpt
import pytest
import torch
from encore.checkpoints import file_names, generate, megatron_reader, torch_file
from encore.errors import CheckpointError, UnreadableError
from encore.train import arguments, state
from encore.train.world import World
from helpers.megatron_models import (
    SMALL,
    Layers,
    as_deepspeedai,
    deepspeedai_args,
    in_older_order,
    read_all,
    write,
    write_deepspeedai,
    write_modules,
    write_partitions,
)
from helpers.megatron_models import weights as random_weights
from helpers.trainer_lines import line

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny"
FOUR = replace(SMALL, num_layers=4)


def same(step: megatron_reader.MegatronCheckpoint, layers: Layers) -> bool:
    read = read_all(step)
    return read.keys() == layers.keys() and all(
        read[n].keys() == layers[n].keys() and torch.equal(read[n][name], layers[n][name])
        for n in layers
        for name in layers[n]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tensor", [1, 2, 4])
def test_layer_files_of_any_degree_and_type(
    tensor: int, dtype: torch.dtype, tmp_path: Path
) -> None:
    layers = random_weights(SMALL, dtype=dtype)
    step = megatron_reader.read(write(tmp_path, SMALL, layers, tensor, pipeline=2))
    states = step.states
    assert (
        states.tensor_parallel,
        states.pipeline_parallel,
        step.weights_from,
        step.vocabulary,
    ) == (
        tensor,
        2,
        "layer files",
        200,
    )
    assert same(step, layers) and not step.differing


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("tensor", [1, 2])
def test_weights_in_mp_rank_files(tensor: int, nested: bool, tmp_path: Path) -> None:
    layers = random_weights(FOUR)
    step = megatron_reader.read(write_modules(tmp_path, FOUR, layers, tensor, nested))
    assert step.weights_from == "mp_rank files" and same(step, layers)


@pytest.mark.parametrize(
    ("tensor", "pipeline", "data"), [(1, 1, 1), (1, 1, 3), (2, 1, 2), (1, 2, 2), (2, 4, 5)]
)
def test_weights_in_partitions(tensor: int, pipeline: int, data: int, tmp_path: Path) -> None:
    layers = random_weights(FOUR)
    step = megatron_reader.read(write_partitions(tmp_path, FOUR, layers, tensor, pipeline, data))
    assert step.weights_from == "optimizer files" and same(step, layers)


def test_a_genuine_optimizers_weights_round_to_the_layer_files() -> None:
    path = GENUINE / "tp1" / "checkpoint"
    layers, masters = megatron_reader.read(path), megatron_reader.read(path, from_optimizer=True)
    assert (layers.weights_from, masters.weights_from) == ("layer files", "optimizer files")
    for number in layers.numbers:
        rounded, held = layers.layer(number), masters.layer(number)
        for name, value in held.items():
            assert value.dtype == torch.float32 and torch.equal(value.bfloat16(), rounded[name]), (
                name
            )
    assert any(not torch.equal(v, v.bfloat16().float()) for v in masters.layer(3).values())


@pytest.mark.parametrize("version", [0, 1.0])
def test_older_versions_are_reordered_rank_by_rank(version: float, tmp_path: Path) -> None:
    layers = random_weights(SMALL)
    stored = in_older_order(layers, SMALL, 2, version)
    step = write(tmp_path, SMALL, stored, 2, checkpoint_version=version)
    assert same(megatron_reader.read(step), layers)


@pytest.mark.parametrize("tensor", [1, 2])
@pytest.mark.parametrize("version", [0, 1])
def test_sampling_and_resuming_read_older_versions(
    version: int, tensor: int, tmp_path: Path
) -> None:
    """The genuine run's model, stored as older versions store it, gives the logits that it gave."""
    genuine = megatron_reader.read(GENUINE / "tp1" / "checkpoint")
    stored = in_older_order(read_all(genuine), genuine.config, tensor, version)
    step = write(tmp_path, genuine.config, stored, tensor, checkpoint_version=version)
    tokens = torch.arange(64)[None]
    expected = generate.load(genuine.path)(tokens)
    assert torch.equal(generate.load(step)(tokens), expected)
    argv = line(tmp_path, load=tmp_path, finetune=True)
    args = arguments.parse(pretrain_gpt.build_parser(), argv, world_size=1)
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    resumed = state.start(args, alone, step, None)
    assert torch.equal(resumed.model.eval()(tokens), expected)


@pytest.mark.parametrize("thirds", [True, False])
@pytest.mark.parametrize(("tensor", "pipeline"), [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_layer_files_of_deepspeedai(
    tensor: int, pipeline: int, thirds: bool, tmp_path: Path
) -> None:
    """Other numbers, and since December 2024 other rows, make the same model."""
    layers = random_weights(FOUR)
    step = write_deepspeedai(tmp_path, FOUR, layers, tensor, pipeline, thirds)
    assert sorted(file_names.layer_files(step)) == [1, 2, 3, 4, 5, 6]
    found = megatron_reader.read(step)
    assert same(found, layers) and not found.differing and found.vocabulary == 200


@pytest.mark.parametrize(("tensor", "pipeline", "data"), [(1, 1, 2), (2, 2, 1), (2, 1, 3)])
def test_partitions_of_deepspeedai(tensor: int, pipeline: int, data: int, tmp_path: Path) -> None:
    layers = random_weights(FOUR)
    stored = as_deepspeedai(layers, FOUR, tensor, thirds=True)
    args = deepspeedai_args(FOUR, thirds=True)
    path = write_partitions(tmp_path, FOUR, stored, tensor, pipeline, data, args)
    assert same(megatron_reader.read(path), layers)


@pytest.mark.parametrize("tensor", [1, 2])
def test_mp_rank_files_of_deepspeedai(tensor: int, tmp_path: Path) -> None:
    layers = random_weights(FOUR)
    stored = in_older_order(layers, FOUR, tensor, 0)
    args = deepspeedai_args(FOUR, thirds=True)
    path = write_modules(tmp_path, FOUR, stored, tensor, nested=True, args=args)
    assert same(megatron_reader.read(path), layers)
    # the bf16 optimizer's, of which there are none here, are not needed to read the weights
    assert megatron_reader.find(tmp_path) == path


@pytest.mark.parametrize("tensor", [1, 2])
def test_sampling_and_resuming_read_deepspeedai(tensor: int, tmp_path: Path) -> None:
    """The genuine run's model, stored as deepspeedai does, gives the logits that it gave."""
    genuine = megatron_reader.read(GENUINE / "tp1" / "checkpoint")
    step = write_deepspeedai(tmp_path, genuine.config, read_all(genuine), tensor)
    tokens = torch.arange(64)[None]
    expected = generate.load(genuine.path)(tokens)
    assert torch.equal(generate.load(step)(tokens), expected)
    argv = line(tmp_path, load=tmp_path, finetune=True)
    args = arguments.parse(pretrain_gpt.build_parser(), argv, world_size=1)
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    resumed = state.start(args, alone, step, None)
    assert torch.equal(resumed.model.eval()(tokens), expected)


def test_the_built_in_trainer_goes_on_where_deepspeedai_stopped(tmp_path: Path) -> None:
    """Its schedule has other keys; its optimizer's state is another's."""
    genuine = megatron_reader.read(GENUINE / "tp1" / "checkpoint")
    schedule = {"max_lr": 2e-3, "min_lr": 2e-4, "num_steps": 70, "num_tokens": 4480}
    for key, value in (("warmup_steps", 16), ("decay_steps", 160), ("decay_style", "cosine")):
        schedule[f"lr_{key}"] = value
    layers = read_all(genuine)
    step = write_deepspeedai(tmp_path, genuine.config, layers, lr_scheduler=schedule)
    argv = line(tmp_path, load=tmp_path, no_load_optim=True)
    args = arguments.parse(pretrain_gpt.build_parser(), argv, world_size=1)
    alone = World(rank=0, size=1, device=torch.device("cpu"))
    resumed = state.start(args, alone, step, None)
    assert (resumed.progress.iteration, resumed.progress.train_samples) == (7, 70)
    args.lr = 1e-3
    with pytest.raises(CheckpointError, match=r"max_lr 0\.002 \(now 0\.001\)"):
        state.start(args, alone, step, None)


def test_layers_of_another_trainer_than_the_arguments_are_not_guessed_at(tmp_path: Path) -> None:
    """Which rows are queries would be a guess: scrambled attention, and nobody would notice."""
    layers = random_weights(SMALL)
    close = dict(enumerate(layers.values(), start=1))
    unknown = write(tmp_path / "1", SMALL, close)
    spaced = write(tmp_path / "2", SMALL, layers, args=deepspeedai_args(SMALL, thirds=True))
    other = write(tmp_path / "3", SMALL, layers)
    (other / "layer_06-model_00-model_states.pt").rename(
        other / "layer_07-model_00-model_states.pt"
    )
    more_ranks = write(tmp_path / "4", SMALL, layers, 2, args={"tensor_model_parallel_size": 1})
    for step, name in (
        (unknown, "layer_02-model_00"),
        (spaced, "layer_06-model_00"),
        (other, "layer_07-model_00"),
        (more_ranks, "layer_01-model_01"),
    ):
        with pytest.raises(UnreadableError, match=f"has {name}-model_states.pt, which the trainer"):
            megatron_reader.read(step)


def test_copies_that_differ_between_ranks_are_said(tmp_path: Path) -> None:
    layers = random_weights(SMALL)
    path = write(tmp_path, SMALL, layers, tensor=2)
    second = torch_file.load(path / file_names.layer_file(3, 1))
    second["input_layernorm.bias"] += 1
    torch_file.save(path / file_names.layer_file(3, 1), second)
    step = megatron_reader.read(path)
    assert same(step, layers) and step.differing == {"layer 3 input_layernorm.bias"}


@pytest.mark.parametrize(
    "name", ["layer_03-model_01-model_states.pt", "layer_06-model_00-model_states.pt"]
)
def test_a_missing_part_is_named(name: str, tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, random_weights(SMALL), tensor=2)
    (step / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        megatron_reader.read(step)


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, random_weights(SMALL))
    (step / "layer_04-model_00-model_states.pt").unlink()
    with pytest.raises(CheckpointError, match="files of 3 layers, its model 4: layer_04"):
        megatron_reader.read(step)


def test_a_missing_partition_is_named(tmp_path: Path) -> None:
    path = write_partitions(tmp_path, FOUR, random_weights(FOUR), 1, 1, 3)
    (path / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(CheckpointError, match=r"hold \d+ of \d+ values of "):
        read_all(megatron_reader.read(path))


@pytest.mark.parametrize("tensor", [1, 2])
@pytest.mark.parametrize(
    "name", ["ffn_hidden_size", "padded_vocab_size", "hidden_size", "max_position_embeddings"]
)
def test_weights_of_another_shape_are_refused(name: str, tensor: int, tmp_path: Path) -> None:
    for size in (16, 512):
        step = write(tmp_path / str(size), SMALL, random_weights(SMALL), tensor, args={name: size})
        with pytest.raises(CheckpointError, match=r"global_step7: layer \d [\w.]+ is [\d×]+, not "):
            read_all(megatron_reader.read(step))


def test_a_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, {})
    with pytest.raises(CheckpointError, match="neither layer files nor"):
        megatron_reader.read(step)


@pytest.mark.parametrize("degree", ["2", -1, 10**9, 3])
def test_damaged_degrees_are_refused(degree: object, tmp_path: Path) -> None:
    step = write(
        tmp_path, SMALL, random_weights(SMALL), args={"tensor_model_parallel_size": degree}
    )
    with pytest.raises(CheckpointError):
        megatron_reader.read(step)


@pytest.mark.parametrize("version", ["3.0", None, [3], 4.0, float("nan"), float("inf"), True])
def test_a_damaged_version_is_refused(version: object, tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, random_weights(SMALL), checkpoint_version=version)
    with pytest.raises(CheckpointError, match="states checkpoint_version"):
        megatron_reader.read(step)


@pytest.mark.parametrize("damage", ["shapes", "places", "weights", "address"])
def test_damaged_partitions_are_refused(damage: str, tmp_path: Path) -> None:
    path = write_partitions(tmp_path, FOUR, random_weights(FOUR), 1, 1, 1)
    optimizer, model = (
        path / file_names.optimizer_file(0, True),
        path / file_names.model_states_file(),
    )
    held, states = torch_file.load(optimizer)["optimizer_state_dict"], torch_file.load(model)
    states["param_shapes"] = [{"x": 3}] if damage == "shapes" else states["param_shapes"]
    name, places = next(iter(held["param_slice_mappings"][0].items()))
    held["param_slice_mappings"] = {"places": 3, "address": [{name: places.values}] * 2}.get(
        damage, [{}, {}]
    )
    held["single_partition_of_fp32_groups"] = [3, 3] if damage == "weights" else [torch.ones(1)] * 2
    torch_file.save(optimizer, {"optimizer_state_dict": held})
    torch_file.save(model, states)
    with pytest.raises(
        CheckpointError, match=r"shapes|their places|another form|where its parameters lie"
    ):
        read_all(megatron_reader.read(path))


def test_the_newest_whole_step_of_a_folder_is_taken(tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, random_weights(SMALL))
    assert megatron_reader.find(tmp_path) == megatron_reader.find(step) == step
    (step / "mp_rank_00_model_states.pt").unlink()
    with pytest.raises(CheckpointError, match=r"mp_rank_00_model_states\.pt does not exist"):
        megatron_reader.read(step)
    with pytest.raises(CheckpointError, match="no checkpoint and holds no complete one"):
        megatron_reader.find(tmp_path / "absent")


def test_the_vocabulary_is_what_the_checkpoint_states(tmp_path: Path) -> None:
    layers = random_weights(SMALL)
    unstated = megatron_reader.read(write(tmp_path / "1", SMALL, layers, checkpoint_info=None))
    own = megatron_reader.read(
        write(tmp_path / "3", SMALL, layers, checkpoint_info=None, args={"vocab_size": 199})
    )
    assert (unstated.vocabulary, own.vocabulary) == (None, 199)
    absurd = megatron_reader.read(
        write(tmp_path / "2", SMALL, layers, checkpoint_info={"original_vocab_size": 999})
    )
    with pytest.raises(CheckpointError, match="states original_vocab_size 999"):
        absurd.vocabulary  # noqa: B018
