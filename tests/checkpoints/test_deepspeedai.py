"""A genuine checkpoint of deepspeedai's fork, which numbers layers and orders rows its own way."""

import json
import re
import shutil
import time
from pathlib import Path

import convert_checkpoint
import pretrain_gpt
import pytest
import sample_text
import torch
from encore.checkpoints import prune, step_folder, torch_file
from encore.checkpoints.prune import RetentionRule
from encore.train import arguments, loop
from helpers.trainer_lines import TINY, line, trainer_log

GENUINE = Path(__file__).parents[1] / "data" / "megatron_deepspeedai"
STEP = GENUINE / "checkpoint" / "global_step20"
LOSS = re.compile(r"lm loss: (\S+) \|")
# the fork's own losses, each of the stored weights on other samples
EXPECTED = [float(loss) for loss in LOSS.findall((GENUINE / "losses.log").read_text())]


def losses(folder: Path, load: Path) -> list[float]:
    """Those of the built-in trainer with next to no learning rate."""
    argv = line(
        folder,
        num_layers=2,
        hidden_size=16,
        kv_channels=4,
        ffn_hidden_size=32,
        hidden_dropout=0,
        attention_dropout=0,
        train_samples=40,
        lr=1e-12,
        min_lr=0,
        lr_decay_samples=40,
        lr_warmup_samples=0,
        eval_iters=0,
        load=load,
        save=None,
        save_interval=None,
        finetune=True,
    )
    args = arguments.parse(pretrain_gpt.build_parser(), argv, 1)
    with trainer_log() as lines:
        loop.pretrain(args, time.monotonic())
    return [float(loss) for loss in LOSS.findall("\n".join(lines))]


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, object]]:
    code = convert_checkpoint.main([*map(str, argv), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.slow
def test_the_built_in_trainer_repeats_the_forks_losses(tmp_path: Path) -> None:
    assert len(EXPECTED) == 5
    assert losses(tmp_path, GENUINE / "checkpoint") == pytest.approx(EXPECTED, abs=2e-6)


@pytest.mark.slow
def test_the_losses_tell_the_order_of_the_rows(tmp_path: Path) -> None:
    """Read head by head, as the fork's commits before 676a482c stored them, they are others."""
    step = shutil.copytree(STEP, tmp_path / "checkpoint" / STEP.name)
    saved = vars(torch_file.load(STEP / "mp_rank_00_model_states.pt")["args"])
    plain = {name: value for name, value in saved.items() if type(value) in (int, float, str, bool)}
    del plain["ds_sequence_parallel_fpdt"]
    for path in step.glob("mp_rank_*"):
        torch.save({"args": plain, "checkpoint_version": 3.0, "mp_world_size": 4}, path)
    found = losses(tmp_path, step.parent)
    assert max(abs(ours - theirs) for ours, theirs in zip(found, EXPECTED, strict=True)) > 1e-3


@pytest.mark.slow
def test_every_form_that_is_written_of_it_is_the_same_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hf = tmp_path / "hf"
    code, facts = run(capsys, "to-transformers", STEP, hf, "--tokenizer", TINY, "--verify")
    assert code == 0 and facts["same"] and facts["vocabulary"] == 5000
    code, facts = run(capsys, "reshard", STEP, tmp_path / "kept", "--verify")
    assert code == 0 and facts["greatest_difference"] == 0 and facts["trainer"] == "deepspeedai"
    spaced = tmp_path / "spaced"
    code, facts = run(capsys, "reshard", STEP, spaced, "--trainer", "turkunlp", "--verify")
    assert code == 0 and facts["greatest_difference"] == 0
    assert facts["trainer"] == "turkunlp, bigscience or builtin"
    back = ("--trainer", "deepspeedai", "--tp", 2, "--pp", 2)
    code, facts = run(capsys, "reshard", spaced, tmp_path / "back", *back, "--verify")
    assert code == 0 and facts["greatest_difference"] == 0
    for path in STEP.glob("layer_*"):
        ours = torch_file.load(tmp_path / "back" / STEP.name / path.name)
        theirs = torch_file.load(path)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            # the padding is new
            assert name == "word_embeddings.weight" or torch.equal(ours[name], value), name


def test_it_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    code, facts = run(capsys, "inspect", GENUINE / "checkpoint")
    assert (code, facts["unreadable"]) == (0, [])
    assert facts["trainer"] == "deepspeedai"
    assert facts["query_key_value_rows"] == "q|k|v, head, channel"
    assert facts["missing"] == ["4 of 4 optimizer files"]
    assert (facts["iteration"], facts["consumed_train_samples"]) == (20, 160)


def test_text_is_drawn_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [str(GENUINE / "checkpoint"), "--tokenizer", str(TINY), "--tokens", "5"]
    assert sample_text.main([*argv, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["token_ids"]) == 5


def test_pruning_keeps_it(tmp_path: Path) -> None:
    for number in (10, 20):
        shutil.copytree(STEP, tmp_path / f"global_step{number}")
    rule = RetentionRule(idle_s=0)
    found = prune.survey(tmp_path, rule)
    assert {entry.state for entry in found} == {prune.WEIGHTS}
    assert list(prune.delete(found, rule)) == []
    assert step_folder.newest(tmp_path, optimizer=False).step == tmp_path / "global_step20"
