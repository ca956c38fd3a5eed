"""What inspect prints is true: of whole, of incomplete and of harmful checkpoints."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encore.checkpoints import convert, file_names, inspect
from encore.checkpoints.megatron_writer import MegatronTarget
from encore.errors import CheckpointError
from encore.model.gpt import GPT
from helpers.exploits import exploits
from helpers.megatron_models import SMALL, VOCABULARY, weights, write, write_partitions

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny"


def test_a_genuine_checkpoint_is_described() -> None:
    known = inspect.facts(GENUINE / "tp1" / "checkpoint")
    assert json.loads(json.dumps(known)) == known
    expected = {
        "format": "Megatron-DeepSpeed",
        "iteration": 20,
        "consumed_train_samples": 160,
        "consumed_train_tokens": 10_240,
        "checkpoint_version": 3.0,
        "tensor_parallel": 1,
        "pipeline_parallel": 1,
        "data_parallel": 2,
        "weights_from": "layer files",
        "optimizer_files": 2,
        "dtype": "bfloat16",
        "vocabulary": 5000,
        "missing": [],
        "unreadable": [],
    }
    assert {name: known[name] for name in expected} == expected
    assert known["arguments"]["lr"] == 2e-3 and known["model"]["ffn_hidden_size"] == 128
    assert known["layer_3"]["self_attention.query_key_value.weight"] == [96, 32]
    shown = dict(inspect.rows(known))
    assert shown["consumed_train_tokens"] == "10,240" and "arguments" not in shown


def test_parameters_are_counted_without_padding(tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, weights(SMALL), tensor=2)
    model = GPT.empty(replace(SMALL, padded_vocab_size=VOCABULARY))
    count = sum(parameter.numel() for parameter in model.parameters())
    hf = convert.to_transformers(step, tmp_path / "hf", None, 10**9).path
    assert inspect.facts(step)["parameters"] == inspect.facts(hf)["parameters"] == count
    assert inspect.facts(hf)["unreadable"] == []


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    step = write_partitions(tmp_path, SMALL, weights(SMALL), 2, 2, 3)
    assert inspect.facts(step)["missing"] == []
    (step / "mp_rank_03_model_states.pt").unlink()
    (step / "bf16_zero_pp_rank_2_mp_rank_01_optim_states.pt").unlink()
    known = inspect.facts(step)
    assert known["missing"] == ["mp_rank_03_model_states.pt", "1 of 12 optimizer files"]
    assert known["unreadable"] and "mp_rank_03" in known["unreadable"][0]
    assert inspect.facts(tmp_path)["path"] == str(step)


def test_a_trainer_that_is_not_known_is_not_named(tmp_path: Path) -> None:
    layers = weights(SMALL)
    known = inspect.facts(write(tmp_path / "1", SMALL, layers))
    assert known["trainer"] == "turkunlp, bigscience or builtin" and not known["unreadable"]
    close = dict(enumerate(layers.values(), start=1))
    for step, reason in (
        (write(tmp_path / "2", SMALL, close), "has layer_02-model_00"),
        (write(tmp_path / "3", SMALL, layers, checkpoint_version=1.5), "version 1.5"),
    ):
        known = inspect.facts(step)
        assert known["trainer"] is None and known["query_key_value_rows"] is None
        assert reason in known["unreadable"][0]


@pytest.mark.parametrize(
    "hostile", ["layer_03-model_00-model_states.pt", "mp_rank_00_model_states.pt"]
)
@pytest.mark.parametrize("name", ["os.system", "eval"])
def test_a_hostile_file_is_refused_by_name_and_does_nothing(
    name: str, hostile: str, tmp_path: Path
) -> None:
    step, canary = write(tmp_path, SMALL, weights(SMALL)), tmp_path / "canary"
    torch.save({"args": exploits(canary)[name]}, step / hostile)
    try:
        said = inspect.facts(step)["unreadable"][0]
    except CheckpointError as error:
        said = str(error)
    assert hostile in said and ("system" in said or "eval" in said) and "could run code" in said
    assert not canary.exists()


@pytest.mark.parametrize("hostile", ["optimizer", "layer", "transformers"])
def test_a_conversion_runs_no_exploit(hostile: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = {"optimizer_state_dict": exploits(canary)["os.system"]}
    if hostile == "transformers":
        hf = convert.to_transformers(
            write(tmp_path, SMALL, weights(SMALL)), tmp_path / "hf", None, 10**9
        ).path
        (hf / "model.safetensors").unlink()
        torch.save(evil, hf / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="system"):
            convert.to_megatron(hf, tmp_path / "out", MegatronTarget(1, 1))
    else:
        step = write_partitions(tmp_path, SMALL, weights(SMALL), 1, 1, 2)
        name = (
            file_names.optimizer_file(1, True)
            if hostile == "optimizer"
            else file_names.layer_file(1)
        )
        torch.save(evil, step / name)
        for number in (3, 4, 6) if hostile == "layer" else ():
            torch.save(weights(SMALL)[number], step / file_names.layer_file(number))
        with pytest.raises(CheckpointError, match="system"):
            convert.to_transformers(step, tmp_path / "out", None, 10**9)
    assert not canary.exists() and not (tmp_path / "out").exists()


def test_no_checkpoint_is_no_facts(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CheckpointError):
            inspect.facts(path)
