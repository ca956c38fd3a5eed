"""Command lines that trainers accept and refuse; tests/manual/check_forks.py asks the forks.

The accepted one is what TurkuNLP's fork really ran: data/megatron_tiny/tp1/args.txt.
"""

import itertools
from pathlib import Path

import pytest
from encore.errors import UnknownNameError, UsageError
from encore.registry.trainer_rules import check_arguments
from encore.registry.trainers import load_trainers
from hypothesis import given
from hypothesis import strategies as st

TAKEN = (
    (Path(__file__).parents[1] / "data" / "megatron_tiny" / "tp1" / "args.txt").read_text().split()
)


def changed(*removed: str, add: str = "") -> list[str]:
    """TAKEN without some arguments and their values, and with others."""
    groups: list[list[str]] = []
    for text in TAKEN:
        if text.startswith("--"):
            groups.append([])
        groups[-1].append(text)
    return (
        list(itertools.chain(*(group for group in groups if group[0] not in removed))) + add.split()
    )


def check(
    args: list[str], name: str = "turkunlp", world_size: int = 2, objective: str = "causal"
) -> None:
    trainer = load_trainers()[name]
    check_arguments(trainer, trainer.commits[objective], args, world_size)  # type: ignore[index]


@pytest.mark.parametrize("name", ["turkunlp", "bigscience", "builtin"])
def test_what_ran_is_taken(name: str) -> None:
    check(TAKEN, name)


def test_the_ul2_commit_takes_its_own_arguments_alone() -> None:
    added = load_trainers()["turkunlp"].commits["ul2"].adds.split()
    check(TAKEN + added, objective="ul2")
    with pytest.raises(UnknownNameError, match="--ul2-model-type"):
        check(TAKEN + added)


def test_deepspeedai_takes_its_own_spellings() -> None:
    theirs = changed(
        "--kill-switch-path",
        "--train-weighted-split-paths-path",
        "--valid-weighted-split-paths-path",
        add="--kill-switch-file stop --train-data-path 0.9 a 0.1 b --valid-data-path c"
        " --exit-signal-handler",
    )
    check(theirs, "deepspeedai")
    with pytest.raises(UnknownNameError) as caught:
        check(TAKEN, "deepspeedai")
    assert "--kill-switch-path" in str(caught.value) and "--kill-switch-file" in caught.value.hint
    with pytest.raises(UnknownNameError, match="--exit-signal-handler"):
        check([*TAKEN, "--exit-signal-handler"])


@pytest.mark.parametrize(
    ("removed", "add", "world_size", "problem"),
    [
        (["--num-layers"], "", 2, "--num-layers is missing"),
        (["--seq-length"], "", 2, "--seq-length is missing"),
        ([], "--no-such-thing 1", 2, "unknown argument of trainer turkunlp '--no-such-thing'"),
        ([], "--seed 1 --seed 2", 2, "--seed is given twice"),
        ([], "--bf16", 2, "--bf16 is given twice"),
        ([], "--finetune yes", 2, "--finetune accepts no value, not yes"),
        ([], "--seed", 2, "--seed needs a value"),
        ([], "", 3, "global batch 8 is not a multiple of micro-batch × data parallel = 6"),
        ([], "", 8, "global batch 8 is not a multiple of micro-batch × data parallel = 16"),
        (
            ["--tensor-model-parallel-size"],
            "--tensor-model-parallel-size 4",
            2,
            "2 ranks are not divisible by",
        ),
        (
            ["--tensor-model-parallel-size"],
            "--tensor-model-parallel-size 3",
            3,
            "4 heads and feed-forward size 128",
        ),
        (
            ["--pipeline-model-parallel-size"],
            "--pipeline-model-parallel-size 0",
            2,
            "2 ranks are not divisible by",
        ),
        (["--micro-batch-size"], "--micro-batch-size 0", 2, "micro-batch × data parallel = 0"),
        (
            ["--micro-batch-size"],
            "--micro-batch-size 2.5",
            2,
            "--micro-batch-size 2.5 is not a whole number",
        ),
        (["--micro-batch-size"], "--micro-batch-size two", 2, "is not a whole number"),
        (
            ["--num-attention-heads", "--kv-channels"],
            "--num-attention-heads 5",
            1,
            "not divisible by 5 heads",
        ),
        (
            ["--max-position-embeddings"],
            "",
            2,
            "--max-position-embeddings must be at least --seq-length",
        ),
        (
            ["--seq-length"],
            "--seq-length 65",
            2,
            "--max-position-embeddings must be at least --seq-length",
        ),
        (
            [],
            "--position-embedding-type rotary",
            2,
            "rotary positions exclude --max-position-embeddings",
        ),
        (["--train-samples"], "", 2, "one of --train-samples and --train-iters is needed"),
        (
            [],
            "--train-iters 20",
            2,
            "one of --train-samples and --train-iters is needed, and not both",
        ),
        ([], "--lr-decay-iters 20", 2, "--lr-decay-iters does not go with --train-samples"),
        ([], "--lr-warmup-iters 2", 2, "--lr-warmup-iters does not go with --train-samples"),
        (
            [],
            "--lr-warmup-fraction 0.01",
            2,
            "--lr-warmup-fraction and --lr-warmup-samples exclude each other",
        ),
        (
            ["--train-samples"],
            "--train-iters 20",
            2,
            "--lr-decay-samples does not go with --train-iters",
        ),
        (["--min-lr"], "--min-lr 3e-3", 2, "--min-lr is above --lr"),
        (["--lr"], "--lr fast", 2, "--lr fast is not a finite number"),
        ([], "--fp16", 2, "--fp16 and --bf16 exclude each other"),
        (["--save-interval"], "", 2, "--save needs --save-interval"),
        (["--deepspeed"], "", 2, "--deepspeed and --deepspeed_config go together"),
        (["--deepspeed_config"], "", 2, "--deepspeed and --deepspeed_config go together"),
        ([], "--data-path a", 2, "weighted split paths exclude --data-path and --split"),
        ([], "--split 9,1,0", 2, "weighted split paths exclude --data-path and --split"),
        (["--train-weighted-split-paths-path"], "", 2, "no training data"),
        (["--merge-file"], "", 2, "tokenizer GPT2BPETokenizer needs --merge-file"),
        (
            [],
            "--tokenizer-type PretrainedFromHF",
            2,
            "PretrainedFromHF needs --tokenizer-name-or-path",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(
    removed: list[str], add: str, world_size: int, problem: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check(changed(*removed, add=add), world_size=world_size)
    assert problem in str(caught.value)


def test_deepspeedai_needs_its_data_once() -> None:
    without = changed(
        "--kill-switch-path",
        "--train-weighted-split-paths-path",
        "--valid-weighted-split-paths-path",
    )
    for data in ([], ["--train-data-path", "a", "--data-path", "a"]):
        with pytest.raises(UsageError, match="one of --train-data-path and --data-path"):
            check(without + data, "deepspeedai")


def test_a_value_before_any_argument_is_refused() -> None:
    with pytest.raises(UsageError, match="'146m' precedes any argument"):
        check(["146m", *TAKEN])


@given(
    st.lists(st.sampled_from([*TAKEN, "--fp16", "-1", "", "--", "x"]), max_size=12),
    st.integers(1, 64),
)
def test_any_list_is_taken_or_refused_with_a_usage_error(args: list[str], world_size: int) -> None:
    for name in load_trainers():
        with pytest.raises(UsageError):
            check(args, name, world_size)
