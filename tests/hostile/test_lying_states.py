"""States that lie: a genuine checkpoint with one field changed, given to every command that reads.

Each command ends with 0 where the field does not matter to it, or else with one line and 1: never a
traceback, nothing written. What it allocates is bounded, so that a lie of 10^12 cannot take it.
"""

import argparse
import copy
import json
import math
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from encore.checkpoints import file_names, inert_pickle
from encore.checkpoints.inert_pickle import StandIn
from helpers.commands import run_command
from helpers.trainer_lines import line

TINY = Path(__file__).parents[1] / "data" / "megatron_tiny"
STEP = TINY / "tp1" / "checkpoint" / "global_step20"
STATES = file_names.model_states_file()
MISSING = object()
LIES: dict[str, Any] = {
    "missing": MISSING,
    "None": None,
    "text": "text",
    "a switch": True,
    "zero": 0,
    "negative": -1,
    "a fraction": 0.5,
    "NaN": math.nan,
    "infinite": math.inf,
    "10^12": 10**12,
    "10^30": 10**30,
    "a long list": [0] * 100_000,
    "a long text": "x" * 100_000,
    "names": {"text": "text", "number": -1},
    "numbers by number": {1: 2},
}
# what the commands compute with; each lie about the first kind is refused, but for None and 0
SIZES = ("num_layers", "hidden_size", "num_attention_heads", "max_position_embeddings")
SIZES += ("padded_vocab_size",)
ARGUMENTS = (
    *SIZES,
    "kv_channels",
    "ffn_hidden_size",
    "layernorm_epsilon",
    "attention_dropout",
    "hidden_dropout",
    "init_method_std",
    "bias_gelu_fusion",
    "openai_gelu",
    "checkpoint_activations",
    "checkpoint_num_layers",
    "position_embedding_type",
    "num_key_value_heads",
    "glu_activation",
    "bf16",
    "tensor_model_parallel_size",
    "model_parallel_size",
    "pipeline_model_parallel_size",
    "make_vocab_size_divisible_by",
    "pad_vocab_size_to",
    "vocab_size",
    "consumed_train_samples",
    "consumed_valid_samples",
    "consumed_train_tokens",
    "train_samples",
    "seq_length",
    "seed",
    "iteration",
    "params_dtype",
)
COUNTERS = (
    "args",
    "iteration",
    "global_steps",
    "global_samples",
    "skipped_steps",
    "tokens",
    "mp_world_size",
    "dp_world_size",
    "checkpoint_version",
    "checkpoint_info",
    "lr_scheduler",
    "module",
    "optimizer",
    "param_shapes",
    "random_rng_state",
    "np_rng_state",
    "torch_rng_state",
    "cuda_rng_state",
    "rng_tracker_states",
    "ds_version",
    "ds_config",
)
SCHEDULE = ("max_lr", "min_lr", "warmup_steps", "decay_steps", "decay_style", "num_steps")
MEMORY_BYTES = 6 << 30


def plain(value: Any) -> Any:
    """A value that can be written again; None in place of other programs' objects."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return None if isinstance(value, StandIn) else value


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    """The genuine states, arguments as a dictionary; the trainer of no optimizer file."""
    states: dict[str, Any] = plain(inert_pickle.read(STEP / STATES))
    states["args"] = plain(vars(states["args"]))
    return states


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("run")
    return Path(shutil.copytree(STEP, run / STEP.name))


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """More than the commands need, and far less than the lies ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def write_lie(truth: dict[str, Any], step: Path, place: str, name: str, lie: Any) -> None:
    """The genuine states with one field changed."""
    states = copy.deepcopy(truth)
    fields = states
    if place != "states":
        fields = states[place]
    if lie is MISSING:
        fields.pop(name, None)
    else:
        fields[name] = lie
    if isinstance(states.get("args"), dict) and all(isinstance(key, str) for key in states["args"]):
        states["args"] = argparse.Namespace(**states["args"])
    torch.save(states, step / STATES)


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def commands(step: Path, folder: Path) -> dict[str, list[Any]]:
    """Command lines, of which those that write do so into folder/out."""
    out = folder / "out"
    trained = line(folder, load=step.parent, save=out, train_samples=168, no_load_optim=True)
    trained += ["--use-checkpoint-lr-scheduler"]
    return {
        "inspect": ["convert_checkpoint", "inspect", step],
        "to-transformers": ["convert_checkpoint", "to-transformers", step, out],
        "reshard": ["convert_checkpoint", "reshard", step, out, "--from-optimizer"],
        "verify": ["convert_checkpoint", "verify", step, STEP],
        "prune": ["prune_checkpoints", step.parent, "--keep-last", 1, "--idle", 0, "--delete"],
        "sample": ["sample_text", step, "--tokenizer", TINY, "--prompt", "x", "--tokens", 1],
        "resume": ["pretrain_gpt", *trained],
    }


def check(command: str, step: Path, folder: Path) -> int:
    """Run a command and hold it to what it promises; its exit code."""
    words = commands(step, folder)[command]
    out = folder / "out"
    before = names_in(step.parent)
    ended = run_command(*words, cwd=folder)
    errors = [text for text in ended.stderr.splitlines() if text.startswith("error: ")]
    assert ended.returncode in (0, 1), ended.stderr
    assert names_in(step.parent) == before
    if ended.returncode:
        assert len(errors) == 1 or (command in ("inspect", "verify") and ended.stdout)
        assert len(ended.stderr) < 2000
        assert command == "resume" or not out.exists()
        assert not list(out.glob("global_step*"))
    shutil.rmtree(out, ignore_errors=True)
    return ended.returncode


FIELDS = [("args", name) for name in ARGUMENTS]
FIELDS += [("states", name) for name in COUNTERS]
FIELDS += [("lr_scheduler", name) for name in SCHEDULE]
FIELDS += [("checkpoint_info", "original_vocab_size"), ("checkpoint_info", "padded_vocab_size")]
COMMANDS = ("to-transformers", "reshard", "verify", "prune", "sample", "resume")
LIES_PER_COMMAND = 4
# what all readers need, and none takes another kind of
NEEDED = [("args", name) for name in (*SIZES, "kv_channels", "ffn_hidden_size")]
NEEDED += [("args", "tensor_model_parallel_size"), ("args", "pipeline_model_parallel_size")]
NEEDED += [("args", "consumed_train_samples"), ("args", "train_samples")]
NEEDED += [("states", name) for name in ("args", "iteration", "lr_scheduler", "module")]
NEEDED += [("states", "mp_world_size"), ("states", "dp_world_size")]
NEEDED += [("checkpoint_info", "original_vocab_size")]


@pytest.mark.parametrize("command", ["inspect", *COMMANDS])
def test_the_genuine_states_are_read(
    command: str, truth: dict[str, Any], step: Path, tmp_path: Path
) -> None:
    write_lie(truth, step, "states", "ds_version", "")
    assert check(command, step, tmp_path) == 0


def sampled(fields: list[tuple[str, str]]) -> list[Any]:
    """The fields, of which `make check` tries every eighth."""
    params = []
    for number, field in enumerate(fields):
        marks = [pytest.mark.slow] if number % 8 else []
        params.append(pytest.param(field, marks=marks, id=".".join(field)))
    return params


@pytest.mark.parametrize("place_and_name", sampled(FIELDS))
def test_any_lie_is_inspected_or_refused(
    place_and_name: tuple[str, str], truth: dict[str, Any], step: Path, tmp_path: Path
) -> None:
    for lie in LIES.values():
        write_lie(truth, step, *place_and_name, lie)
        check("inspect", step, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("place_and_name", FIELDS, ids=".".join)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_lie_ends_in_one_line_or_does_not_matter(
    command: str, place_and_name: tuple[str, str], truth: dict[str, Any], step: Path, tmp_path: Path
) -> None:
    """Of each field other lies for each command: all of them take an hour."""
    first = FIELDS.index(place_and_name) + COMMANDS.index(command) * LIES_PER_COMMAND
    for number in range(first, first + LIES_PER_COMMAND):
        lie = list(LIES.values())[number % len(LIES)]
        write_lie(truth, step, *place_and_name, lie)
        check(command, step, tmp_path)


@pytest.mark.parametrize("place_and_name", sampled(NEEDED))
def test_what_matters_to_all_is_refused_by_name(
    place_and_name: tuple[str, str], truth: dict[str, Any], step: Path, tmp_path: Path
) -> None:
    place, name = place_and_name
    for lie in ("text", True, -1, 0.5, math.nan, math.inf, 10**12, 10**30, [0]):
        write_lie(truth, step, place, name, lie)
        ended = run_command("convert_checkpoint", "to-transformers", step, tmp_path / "out")
        assert ended.returncode == 1, lie
        assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1
        assert ("no arguments" if name == "args" else name) in ended.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["n_layer", "n_embd", "n_head", "n_positions", "vocab_size"])
def test_a_configuration_that_lies_is_refused(name: str, tmp_path: Path) -> None:
    """transformers' config.json, in place of Megatron's arguments."""
    hf = tmp_path / "hf"
    assert run_command("convert_checkpoint", "to-transformers", STEP, hf).returncode == 0
    truth = json.loads((hf / "config.json").read_text())
    for lie in LIES.values():
        config = truth | {name: lie}
        if lie is MISSING:
            del config[name]
        (hf / "config.json").write_text(json.dumps(config))
        for words in (("to-megatron", hf, tmp_path / "out"), ("verify", STEP, hf), ("inspect", hf)):
            ended = run_command("convert_checkpoint", *words)
            assert ended.returncode == 1 and ended.stderr.count("\n") == 1
            assert len(ended.stderr) < 2000 and not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torch_dtype", "embd_pdrop", "summary_type", "eos_token_id"])
def test_what_no_logit_depends_on_may_say_anything(name: str, tmp_path: Path) -> None:
    hf = tmp_path / "hf"
    assert run_command("convert_checkpoint", "to-transformers", STEP, hf).returncode == 0
    truth = json.loads((hf / "config.json").read_text())
    (hf / "config.json").write_text(json.dumps(truth | {name: "text"}))
    assert run_command("convert_checkpoint", "verify", STEP, hf).returncode == 0
