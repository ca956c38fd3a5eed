"""What inspect says is true, of whole checkpoints, of incomplete ones and of those that would do harm."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encore import checkpoint_facts, checkpoints, conversions
from encore.errors import CheckpointError
from encore.train.model import GPT
from megatron_models import SMALL, VOCABULARY, weights, write, write_partitions
from test_checkpoints import exploits

GENUINE = Path(__file__).parent / "data" / "megatron_tiny"


def test_a_genuine_checkpoint_is_described() -> None:
    known = checkpoint_facts.facts(GENUINE / "tp1" / "checkpoint")
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
    shown = dict(checkpoint_facts.rows(known))
    assert shown["consumed_train_tokens"] == "10,240" and "arguments" not in shown


def test_parameters_are_counted_without_padding(tmp_path: Path) -> None:
    step = write(tmp_path, SMALL, weights(SMALL), tensor=2)
    model = GPT.empty(replace(SMALL, padded_vocab_size=VOCABULARY))
    count = sum(parameter.numel() for parameter in model.parameters())
    hf = conversions.to_transformers(step, tmp_path / "hf", None, 10**9).path
    assert checkpoint_facts.facts(step)["parameters"] == checkpoint_facts.facts(hf)["parameters"] == count
    assert checkpoint_facts.facts(hf)["unreadable"] == []


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    step = write_partitions(tmp_path, SMALL, weights(SMALL), 2, 2, 3)
    assert checkpoint_facts.facts(step)["missing"] == []
    (step / "mp_rank_03_model_states.pt").unlink()
    (step / "bf16_zero_pp_rank_2_mp_rank_01_optim_states.pt").unlink()
    known = checkpoint_facts.facts(step)
    assert known["missing"] == ["mp_rank_03_model_states.pt", "1 of 12 optimizer files"]
    assert known["unreadable"] and "mp_rank_03" in known["unreadable"][0]
    assert checkpoint_facts.facts(tmp_path)["path"] == str(step)


@pytest.mark.parametrize("hostile", ["layer_03-model_00-model_states.pt", "mp_rank_00_model_states.pt"])
@pytest.mark.parametrize("name", ["os.system", "eval"])
def test_a_hostile_file_is_refused_by_name_and_does_nothing(name: str, hostile: str, tmp_path: Path) -> None:
    step, canary = write(tmp_path, SMALL, weights(SMALL)), tmp_path / "canary"
    torch.save({"args": exploits(canary)[name]}, step / hostile)
    try:
        said = checkpoint_facts.facts(step)["unreadable"][0]
    except CheckpointError as error:
        said = str(error)
    assert hostile in said and ("system" in said or "eval" in said) and "could run code" in said
    assert not canary.exists()


@pytest.mark.parametrize("hostile", ["optimizer", "layer", "transformers"])
def test_a_conversion_runs_no_exploit(hostile: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = {"optimizer_state_dict": exploits(canary)["os.system"]}
    if hostile == "transformers":
        hf = conversions.to_transformers(write(tmp_path, SMALL, weights(SMALL)), tmp_path / "hf", None, 10**9).path
        (hf / "model.safetensors").unlink()
        torch.save(evil, hf / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match="system"):
            conversions.to_megatron(hf, tmp_path / "out", 1, 1)
    else:
        step = write_partitions(tmp_path, SMALL, weights(SMALL), 1, 1, 2)
        name = checkpoints.optimizer_file(1, True) if hostile == "optimizer" else checkpoints.layer_file(1)
        torch.save(evil, step / name)
        for number in (3, 4, 6) if hostile == "layer" else ():
            torch.save(weights(SMALL)[number], step / checkpoints.layer_file(number))
        with pytest.raises(CheckpointError, match="system"):
            conversions.to_transformers(step, tmp_path / "out", None, 10**9)
    assert not canary.exists() and not (tmp_path / "out").exists()


def test_no_checkpoint_is_no_facts(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CheckpointError):
            checkpoint_facts.facts(path)
