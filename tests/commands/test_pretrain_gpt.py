"""The built-in trainer, really run: it learns, stops, and resumes bit for bit after any kill."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pretrain_gpt
import pytest
import torch
from encore.checkpoints import convert, model_states, step_folder, torch_file
from encore.checkpoints.inspect import facts
from encore.checkpoints.megatron_writer import MegatronTarget
from encore.checkpoints.prune import RetentionRule, survey
from encore.errors import CheckpointError, DataError, OutputError, UsageError
from encore.train import arguments, loop
from helpers.killed_trainer import MOMENTS, kill_at
from helpers.trainer_lines import TINY, line, trainer_log, with_deepspeed

TESTS = Path(__file__).resolve().parents[1]
COMMAND = TESTS.parent / "tools" / "pretrain_gpt.py"
KILLED = TESTS / "helpers" / "killed_trainer.py"
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, so that runs to be compared need the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(argv: list[str], on_line: Callable[[str], None] = lambda text: None) -> list[str]:
    """Train in this process; all lines that the trainer logs, warnings marked."""
    args = arguments.parse(pretrain_gpt.build_parser(), argv, 1)
    with trainer_log(on_line) as lines:
        loop.pretrain(args, time.monotonic())
    return lines


def steps(lines: list[str]) -> dict[int, tuple[str, str]]:
    """Loss and gradient norm by iteration."""
    pattern = r"^ iteration +(\d+)/.*lm loss: (\S+) \| grad norm: (\S+) \|"
    rows = re.findall(pattern, "\n".join(lines), re.MULTILINE)
    return {int(iteration): (loss, norm) for iteration, loss, norm in rows}


def content(step: Path) -> dict[str, list[torch.Tensor]]:
    """All tensors of a checkpoint."""
    tensors = {}
    for path in sorted(step.iterdir()):
        leaves = torch.utils._pytree.tree_leaves(torch_file.load(path))
        tensors[path.name] = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    return tensors


def assert_same(one: Path, other: Path) -> None:
    first, second = content(one), content(other)
    assert first.keys() == second.keys()
    for name, tensors in first.items():
        assert all(torch.equal(a, b) for a, b in zip(tensors, second[name], strict=True)), name


def evaluations(lines: list[str]) -> list[str]:
    """The lines of validation and test losses."""
    return [text for text in lines if "PPL" in text]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """An uninterrupted run, saved every 5 steps."""
    folder = tmp_path_factory.mktemp("whole")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    lines = train(line(folder, save_interval=5, eval_interval=8))
    torch.set_num_threads(before)
    return folder, lines


@pytest.mark.slow
def test_it_learns_as_the_genuine_run_did(whole: tuple[Path, list[str]]) -> None:
    """Same data, model and schedule; but other random draws, and that run was in bf16."""
    ours = steps(whole[1])
    theirs = steps((TINY / "tp1" / "losses.log").read_text().splitlines())
    assert ours.keys() == theirs.keys()
    for iteration, (loss, norm) in theirs.items():
        assert float(ours[iteration][0]) == pytest.approx(float(loss), abs=0.05)
        assert float(ours[iteration][1]) == pytest.approx(float(norm), rel=0.35)


def test_its_checkpoint_bears_the_genuine_ones_names_keys_and_shapes(
    whole: tuple[Path, list[str]],
) -> None:
    ours, theirs = whole[0] / "checkpoint/global_step20", TINY / "tp1/checkpoint/global_step20"
    for path in theirs.glob("layer_*"):
        expected, saved = torch_file.load(path), torch_file.load(ours / path.name)
        assert {name: x.shape for name, x in expected.items()} == {
            name: x.shape for name, x in saved.items()
        }
    expected, saved = model_states.read(theirs).raw, model_states.read(ours).raw
    assert saved.keys() <= expected.keys()
    same = (
        "iteration",
        "tokens",
        "checkpoint_version",
        "checkpoint_info",
        "global_steps",
        "global_samples",
    )
    assert {name: saved[name] for name in same} == {name: expected[name] for name in same}
    assert saved["lr_scheduler"].keys() == expected["lr_scheduler"].keys()
    assert (ours.parent / "latest").read_text() == "global_step20"
    # Megatron compares these with its own, and position_embedding_type with its enum
    compared = (
        "num_layers",
        "hidden_size",
        "num_attention_heads",
        "position_embedding_type",
        "max_position_embeddings",
        "make_vocab_size_divisible_by",
        "padded_vocab_size",
        "tokenizer_type",
        "tensor_model_parallel_size",
        "pipeline_model_parallel_size",
    )
    assert isinstance(saved["args"], argparse.Namespace)
    for name in (*compared, "consumed_train_samples", "consumed_valid_samples"):
        assert getattr(saved["args"], name) == getattr(expected["args"], name), name


def test_evaluations_come_at_their_interval_and_at_the_end(whole: tuple[Path, list[str]]) -> None:
    points = [text.split("\n")[1].split(" | ")[0] for text in evaluations(whole[1])]
    assert points == [
        "valid loss at iteration 8",
        "valid loss at iteration 16",
        "valid loss at the end of training for val data",
    ]


def test_a_checkpoint_of_a_trainer_that_wrote_a_dictionary_still_resumes(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    step = tmp_path / "checkpoint/global_step15"
    shutil.copytree(whole[0] / "checkpoint/global_step15", step)
    states = torch_file.load(step / "mp_rank_00_model_states.pt")
    states["args"] = vars(states["args"]) | {"position_embedding_type": "absolute"}
    torch.save(states, step / "mp_rank_00_model_states.pt")
    (optimizer,) = step.glob("*optim_states.pt")
    state = torch_file.load(optimizer)
    del state["iteration"]
    torch.save(state, optimizer)
    train(line(tmp_path, save_interval=5, eval_interval=8))
    assert_same(whole[0] / "checkpoint/global_step20", tmp_path / "checkpoint/global_step20")


def test_an_optimizer_of_another_step_is_refused(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(whole[0] / "checkpoint/global_step15", tmp_path / "checkpoint/global_step15")
    (optimizer,) = (tmp_path / "checkpoint/global_step15").glob("*optim_states.pt")
    shutil.copy(whole[0] / "checkpoint/global_step10" / optimizer.name, optimizer)
    argv = line(tmp_path, save_interval=5)
    with pytest.raises(CheckpointError, match="model of step 15 and the optimizer of step 10"):
        train(argv)
    assert not (tmp_path / "checkpoint/global_step20").exists()
    assert max(steps(train([*argv, "--no-load-optim"]))) == 20


def spoilt(state: dict[str, Any], name: str) -> Any:
    """An optimizer's file that lies."""
    optimizer = state["optimizer_state_dict"]
    if name == "nothing but a number":
        return 1
    if name == "no state":
        del state["optimizer_state_dict"]
    elif name == "a list":
        state["optimizer_state_dict"] = [1]
    elif name == "no moments":
        optimizer["base_optimizer_state"]["state"] = "none"
    elif name == "moments of another shape":
        moments = optimizer["base_optimizer_state"]["state"][0]
        moments["exp_avg"] = moments["exp_avg"][:-1]
    elif name == "other groups":
        del optimizer["base_optimizer_state"]["param_groups"][1]
    elif name == "other shapes":
        weights = optimizer["single_partition_of_fp32_groups"]
        weights[0] = weights[0][:-1]
    elif name == "fewer weights":
        del optimizer["single_partition_of_fp32_groups"][1]
    elif name == "text":
        optimizer["single_partition_of_fp32_groups"] = "text"
    return state


@pytest.mark.parametrize(
    "name",
    [
        "nothing but a number",
        "no state",
        "a list",
        "no moments",
        "moments of another shape",
        "other groups",
        "other shapes",
        "fewer weights",
        "text",
    ],
)
def test_an_optimizer_that_lies_is_refused(
    name: str, whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    shutil.copytree(whole[0] / "checkpoint/global_step15", tmp_path / "checkpoint/global_step15")
    (path,) = (tmp_path / "checkpoint/global_step15").glob("*optim_states.pt")
    torch.save(spoilt(torch_file.load(path), name), path)
    before = contents(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match="global_step15 holds") as caught:
        train(line(tmp_path, save_interval=5))
    assert "--no-load-optim" in caught.value.hint
    assert contents(tmp_path / "checkpoint") == before


def test_without_zero_the_optimizer_is_in_the_model_states_and_resumes_bit_for_bit(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """DeepSpeed's layout of ZeRO stage 0."""
    stage = {"zero_optimization": {"stage": 0}}
    argv = line(
        tmp_path,
        save_interval=5,
        eval_interval=8,
        zero_stage=0,
        **with_deepspeed(tmp_path, **stage),
    )
    before = train([*argv, "--exit-interval", "5"])
    again = train(argv)
    assert steps(before) | steps(again) == steps(whole[1])
    step = tmp_path / "checkpoint/global_step20"
    assert not list(step.glob("*optim_states.pt"))
    weights = step / "layer_03-model_00-model_states.pt"
    expected = whole[0] / "checkpoint/global_step20" / weights.name
    assert_equal_tensors(torch_file.load(weights), torch_file.load(expected))
    record = facts(step)
    assert (record["optimizer_from"], record["missing"]) == ("mp_rank files", [])
    entries = survey(step.parent, RetentionRule(idle_s=0))
    assert {entry.state for entry in entries} == {"whole"}
    # the same state, wherever it is kept
    assert steps(train(line(tmp_path, save_interval=5, eval_interval=8, load=step.parent))) == {}


def assert_equal_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def train_until_killed(argv: list[str], moment: str, step: int, log: Path) -> list[str]:
    """The lines of a run that kills itself at a moment of saving a step.

    In a fork, which has torch loaded already.
    """
    child = os.fork()
    if not child:
        try:
            kill_at(moment, step)
            with log.open("w") as stream:
                train(argv, lambda text: print(text, file=stream, flush=True))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return log.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_while_it_saves_resumes_bit_for_bit(
    moment: str, whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    argv = line(tmp_path, save_interval=5, eval_interval=8)
    killed = train_until_killed(argv, moment, 10, tmp_path / "killed.log")
    newest = step_folder.newest(tmp_path / "checkpoint")
    assert newest.step is not None and newest.step.name == (
        "global_step10" if moment == "when it stands" else "global_step5"
    )
    again = train(argv)
    everything = steps(killed) | steps(again)
    assert everything == steps(whole[1])
    assert evaluations(again)[-1] == evaluations(whole[1])[-1]
    assert_same(whole[0] / "checkpoint/global_step20", tmp_path / "checkpoint/global_step20")
    names = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert names == {"latest", *(f"global_step{n}" for n in (5, 10, 15, 20))}


@pytest.mark.slow
def test_a_run_killed_between_checkpoints_resumes_bit_for_bit(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    argv = line(tmp_path, save_interval=5, eval_interval=8)
    with subprocess.Popen(
        [sys.executable, COMMAND, *argv], stdout=subprocess.PIPE, env=ALONE
    ) as run:
        assert run.stdout is not None
        for text in run.stdout:
            if b"iteration       13/" in text:
                run.kill()
                break
    assert run.returncode == -signal.SIGKILL
    train(argv)
    assert_same(whole[0] / "checkpoint/global_step20", tmp_path / "checkpoint/global_step20")


@pytest.mark.slow
def test_deepspeed_resumes_bit_for_bit_and_agrees_with_torch(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    commands = {}
    for name in ("once", "twice"):
        folder = tmp_path / name
        folder.mkdir()
        commands[name] = line(folder, save_interval=5, eval_interval=8, **with_deepspeed(folder))
    once = steps(run(*commands["once"]).stdout.splitlines())
    stopped = steps(run(*commands["twice"], "--exit-interval", "7").stdout.splitlines())
    resumed = steps(run(*commands["twice"]).stdout.splitlines())
    assert (len(once), len(stopped), len(resumed)) == (20, 7, 13)
    assert once == stopped | resumed
    assert_same(
        tmp_path / "once/checkpoint/global_step20", tmp_path / "twice/checkpoint/global_step20"
    )
    for iteration, (loss, _) in steps(whole[1]).items():
        assert float(once[iteration][0]) == pytest.approx(float(loss), rel=1e-4)


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, COMMAND, *argv]
    return subprocess.run(command, env=ALONE, capture_output=True, text=True, check=False)


def torchrun(script: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*launcher, script, *argv], env=ALONE, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "optimizer_files"), [("torch", 1), ("deepspeed", 2), ("without zero", 0)]
)
def test_two_processes_killed_while_they_save_resume_bit_for_bit(
    kind: str, optimizer_files: int, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("once", "twice")}
    commands = {}
    for name, folder in folders.items():
        folder.mkdir()
        changes: dict[str, object] = {}
        if kind == "deepspeed":
            changes = with_deepspeed(folder)
        elif kind == "without zero":
            stage = {"zero_optimization": {"stage": 0}}
            changes = {"zero_stage": 0, **with_deepspeed(folder, **stage)}
        commands[name] = line(
            folder,
            save_interval=4,
            eval_interval=100,
            train_samples=64,
            lr_decay_samples=64,
            **changes,
        )
    once = torchrun(COMMAND, *commands["once"])
    assert once.returncode == 0, once.stderr
    killed = torchrun(KILLED, "before latest", "8", *commands["twice"])
    assert killed.returncode != 0
    assert (
        step_folder.newest(folders["twice"] / "checkpoint").step
        == folders["twice"] / "checkpoint/global_step4"
    )
    again = torchrun(COMMAND, *commands["twice"])
    assert again.returncode == 0, again.stderr
    everything = steps(killed.stdout.splitlines()) | steps(again.stdout.splitlines())
    assert everything == steps(once.stdout.splitlines()) and len(everything) == 8
    assert_same(
        folders["once"] / "checkpoint/global_step8", folders["twice"] / "checkpoint/global_step8"
    )
    states = [
        path.name for path in (folders["once"] / "checkpoint/global_step8").glob("*optim_states.pt")
    ]
    assert len(states) == optimizer_files


def test_a_torn_newest_checkpoint_is_named_and_passed_over(tmp_path: Path) -> None:
    argv = line(tmp_path, save_interval=1, exit_interval=2)
    train(argv)
    torn = tmp_path / "checkpoint/global_step2/layer_03-model_00-model_states.pt"
    torn.write_bytes(torn.read_bytes()[:1000])
    lines = train(argv)
    assert (
        lines[0].startswith("warning: ")
        and "global_step2 is not complete" in lines[0]
        and torn.name in lines[0]
    )
    assert lines[1].endswith("global_step1") and step_folder.incomplete(torn.parent) is None


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fault", ["torn", "unreadable"])
def test_where_no_checkpoint_can_be_resumed_none_is_replaced(fault: str, tmp_path: Path) -> None:
    argv = line(tmp_path, save_interval=1, exit_interval=2)
    train(argv)
    for states in (tmp_path / "checkpoint").glob("*/mp_rank_00_model_states.pt"):
        if fault == "torn":
            states.write_bytes(states.read_bytes()[:100])
        else:
            # a folder cannot be read as a file, not even by root
            states.rename(states.with_name("states.pt"))
            states.mkdir()
    before = contents(tmp_path / "checkpoint")
    message = "can be resumed" if fault == "torn" else "is a folder, not a file"
    with pytest.raises(CheckpointError, match=message) as caught:
        train(argv)
    assert caught.value.hint
    assert contents(tmp_path / "checkpoint") == before


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["SIGTERM", "kill switch", "interval"])
def test_a_reason_to_stop_saves_first_and_is_success(
    reason: str, whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    def at_seven(text: str) -> None:
        if text.startswith(" iteration        7/"):
            if reason == "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
            elif reason == "kill switch":
                (tmp_path / "stop").touch()

    argv = line(tmp_path, save_interval=5, eval_interval=8)
    changed = argv if reason != "interval" else [*argv, "--exit-interval", "7"]
    lines = train(changed, at_seven)
    assert (
        max(steps(lines)) == 7 and "successfully saved checkpoint at iteration       7" in lines[-2]
    )
    assert re.fullmatch(r"\[.*(SIGTERM|kill switch at .*|iteration 7).*\] datetime: .*", lines[-1])
    if reason == "kill switch":
        # as long as it exists nothing is trained
        assert len(train(argv)) == 1
        (tmp_path / "stop").unlink()
    assert steps(lines) | steps(train(argv)) == steps(whole[1])


def test_a_finished_run_trains_no_more_and_keeps_its_checkpoint(
    whole: tuple[Path, list[str]],
) -> None:
    step = whole[0] / "checkpoint/global_step20"
    before = step.stat()
    lines = train(line(whole[0], save_interval=5, eval_interval=8))
    after = step.stat()
    assert steps(lines) == {}
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert lines[-1] == whole[1][-1]


@pytest.mark.parametrize(
    ("before", "after", "last"),
    [
        (2, 4, "iteration       12/      12 | consumed samples:           40"),
        (8, 2, "iteration       17/      17 | consumed samples:           40"),
        (6, 4, "iteration        9/       9 | consumed samples:           38"),
    ],
)
def test_a_run_resumed_with_another_batch_trains_the_samples_that_are_left(
    before: int, after: int, last: str, tmp_path: Path
) -> None:
    changes = {"train_samples": 40, "lr_decay_samples": 40, "micro_batch_size": 2}
    started = {"global_batch_size": before, "exit_interval": 8 // before or 1}
    train(line(tmp_path, save_interval=100, **changes, **started))
    lines = train(line(tmp_path, save_interval=100, **changes, global_batch_size=after))
    assert [text for text in lines if "lm loss" in text and last in text]
    newest = step_folder.newest(tmp_path / "checkpoint").step
    assert newest is not None
    saved = model_states.read(newest).arguments
    assert saved["train_iters"] == saved["iteration"]
    # nothing is left that would fill a batch
    assert saved["consumed_train_samples"] > 40 - after
    assert steps(train(line(tmp_path, save_interval=100, **changes, global_batch_size=after))) == {}


def test_a_resumed_run_may_evaluate_more_often_than_planned(tmp_path: Path) -> None:
    """A blend has no spare samples, and each evaluation here takes all that one run planned."""
    prefix = f"{TINY}/data/tiny_text_document"
    changes = {"train_samples": 32, "lr_decay_samples": 32, "save_interval": 2}
    for eval_interval, last_step in ((100, 2), (1, 4), (1, 4)):
        argv = line(tmp_path, eval_interval=eval_interval, exit_interval=2, **changes)
        blend = f'"valid: 1 0.9:0.95 {prefix}, 3 0.95:1 {prefix}"\n'
        (tmp_path / "valid_paths.txt").write_text(blend)
        lines = train(argv)
        newest = step_folder.newest(tmp_path / "checkpoint").step
        assert newest is not None and newest.name == f"global_step{last_step}"
    assert len(evaluations(lines)) == 1


def test_eval_only_evaluates_every_set_and_writes_nothing(
    whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    argv = line(
        tmp_path,
        load=whole[0] / "checkpoint",
        save=None,
        save_interval=None,
        eval_only="True",
        test_weighted_split_paths_path=tmp_path / "test_paths.txt",
    )
    prefix = f"{TINY}/data/tiny_text_document"
    (tmp_path / "valid_paths.txt").write_text(
        f'"late: 1.0 0.9:1 {prefix}" "mixed: 1 0.9:0.95 {prefix}, 3 0.95:1 {prefix}"\n'
    )
    (tmp_path / "test_paths.txt").write_text(f'"rest: 1.0 0.5:1 {prefix}"\n')
    before = sorted(tmp_path.iterdir())
    lines = train(argv)
    losses = re.findall(r"(\w+) loss at .* value: (\S+)", "\n".join(lines))
    assert [name for name, _ in losses] == ["late", "mixed", "rest"]
    assert all(7.5 < float(loss) < 8.2 for _, loss in losses)
    assert sorted(tmp_path.iterdir()) == before


def test_finetuning_takes_the_weights_alone(whole: tuple[Path, list[str]], tmp_path: Path) -> None:
    lines = train(
        line(
            tmp_path,
            load=whole[0] / "checkpoint",
            finetune=True,
            train_samples=16,
            lr_warmup_samples=0,
        )
    )
    assert list(steps(lines)) == [1, 2]
    assert float(steps(lines)[1][0]) < 8.2  # that of new weights is 8.5


@pytest.mark.parametrize("action", ["reshard", "to-megatron"])
def test_what_a_conversion_prints_as_the_way_on_trains(
    action: str, whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    source = whole[0] / "checkpoint/global_step15"
    if action == "reshard":
        conversion = convert.reshard(source, tmp_path / "out", MegatronTarget(), None)
    else:
        convert.to_transformers(source, tmp_path / "hf", None, 10**9)
        conversion = convert.to_megatron(tmp_path / "hf", tmp_path / "out", MegatronTarget())
    (note,) = conversion.notes
    options = re.findall(r"--[\w-]+", note)
    # without any of them the forks stop, --finetune or not
    assert {"--no-load-optim", "--no-load-rng"} <= set(options)
    assert ("--override-lr-scheduler" in options) == (action == "to-megatron")
    lines = train([*line(tmp_path, load=tmp_path / "out", save=tmp_path / "new"), *options])
    assert min(steps(lines)) == (16 if action == "reshard" else 1)
    assert float(steps(lines)[min(steps(lines))][0]) < 8.2  # that of new weights is 8.5


def test_training_resumes_from_a_genuine_checkpoint(tmp_path: Path) -> None:
    """Its optimizer's state is of another kind, which is an error; without it the run resumes."""
    argv = line(tmp_path, load=TINY / "tp1/checkpoint", train_samples=176, save_interval=22)
    with pytest.raises(CheckpointError, match=r"optimizer of another trainer in 2 parts") as caught:
        train([*argv, "--override-lr-scheduler"])
    assert "--no-load-optim" in caught.value.hint
    lines = train([*argv, "--override-lr-scheduler", "--no-load-optim"])
    assert list(steps(lines)) == [21, 22] and float(steps(lines)[21][0]) < 8.0


@pytest.mark.parametrize(
    ("changes", "error", "problem"),
    [
        ({"num_layers": 3}, CheckpointError, r"another model: --num-layers 2 \(now 3\)"),
        ({"lr": 1e-3}, CheckpointError, r"schedule differs: max_lr 0.002 \(now 0.001\)"),
        ({"load": "elsewhere"}, CheckpointError, "no complete checkpoint in elsewhere"),
        ({"seed": 1}, CheckpointError, r"--seed 1234 \(now 1\), which decides the order"),
        ({"seq_length": 32}, CheckpointError, r"--seq-length 64 \(now 32\), which decides"),
        ({"train_samples": 152, "lr_decay_samples": 160}, CheckpointError, "consumed 160 samples"),
        (
            {"train_samples": 40000, "lr_decay_samples": 160},
            CheckpointError,
            r"--train-samples 160 \(now 40000\): over other epochs",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    changes: dict[str, object],
    error: type[Exception],
    problem: str,
    whole: tuple[Path, list[str]],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=problem):
        train(line(tmp_path, **({"load": whole[0] / "checkpoint"} | changes)))


def test_a_configuration_that_says_otherwise_is_refused(tmp_path: Path) -> None:
    sections = (
        {"bf16": {"enabled": True}},
        {"zero_optimization": {"stage": 2}},
        {"optimizer": {"type": "Adam"}},
    )
    for change in ({"train_batch_size": 16}, {"gradient_accumulation_steps": 1}, *sections):
        argv = line(tmp_path, **with_deepspeed(tmp_path, **change))
        with pytest.raises(UsageError, match=r"deepspeed.json says .* the command line"):
            train(argv)
    for text in ("{", "[]", "\xff"):
        (tmp_path / "deepspeed.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match="is not"):
            train(argv)
    assert not (tmp_path / "checkpoint").exists()


def test_two_runs_do_not_write_one_folder(tmp_path: Path) -> None:
    argv = line(tmp_path, save_interval=5, train_samples=32)

    def start_another(text: str) -> None:
        if text.startswith(" iteration        2/"):
            with pytest.raises(OutputError, match="is being written by another run"):
                train(argv)

    assert max(steps(train(argv, start_another))) == 4


def test_dumped_samples_are_what_it_trains_on(tmp_path: Path) -> None:
    """Against the index maps that Megatron built for the genuine run."""
    assert (
        pretrain_gpt.main([*line(tmp_path), "--dump-samples", "5", str(tmp_path / "samples.npz")])
        == 0
    )
    dumped = np.load(tmp_path / "samples.npz")
    maps = str(TINY / "data/tiny_text_document_train_indexmap_160ns_64sl_1234s_{}_idx.npy")
    order, starts, documents = (np.load(maps.format(name)) for name in ("shuffle", "sample", "doc"))
    tokens = np.fromfile(TINY / "data/tiny_text_document.bin", np.uint16)
    assert dumped["train"].shape == dumped["valid"].shape == (5, 65)
    from encore.tokens.indexed import IndexedDataset

    data = IndexedDataset(str(TINY / "data/tiny_text_document"))
    for k in range(5):
        place, offset = starts[order[k]]
        first = data.get(int(documents[place]), int(offset))
        shared = min(65, len(first))
        assert dumped["train"][k][:shared].tolist() == first[:shared].tolist()
    assert tokens.max() < 5000 and not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(
    ("changes", "code", "problem"),
    [
        ({"train_weighted_split_paths_path": "absent.txt"}, 1, "error: absent.txt does not exist"),
        ({"vocab_file": "absent.json"}, 1, "error: --vocab-file absent.json does not exist"),
        ({"num_attention_heads": None}, 2, "--num-attention-heads"),
        (
            {"rampup_batch_size": "2 2 8"},
            2,
            "error: --rampup-batch-size is Megatron's, and",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    changes: dict[str, object], code: int, problem: str, tmp_path: Path
) -> None:
    argv = line(tmp_path, **changes)
    before = sorted(tmp_path.iterdir())
    ended = run(*argv)
    assert ended.returncode == code and ended.stdout == ""
    assert problem in ended.stderr and len(ended.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_truncated_index_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    for ending in ("bin", "idx"):
        data = (TINY / f"data/tiny_text_document.{ending}").read_bytes()
        (tmp_path / f"cut.{ending}").write_bytes(data[:300] if ending == "idx" else data)
    argv = line(tmp_path)
    (tmp_path / "train_paths.txt").write_text(f'"train: 1 0:1 {tmp_path / "cut"}"\n')
    with pytest.raises(DataError, match=r"cut\.idx"):
        train(argv)
    assert not (tmp_path / "checkpoint").exists()


def test_help_is_the_docstring() -> None:
    ended = run("--help")
    assert (
        ended.returncode == 0
        and "examples:" in ended.stdout
        and "--kill-switch-path" in ended.stdout
    )
