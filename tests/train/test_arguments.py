"""The command line is Megatron's as far as it is honoured, and an error beyond."""

import argparse
import json
from pathlib import Path

import pretrain_gpt
import pytest
from encore import human
from encore.checkpoints import model_states
from encore.errors import DataError, EncoreError, UnknownNameError, UsageError
from encore.registry.trainers import load_trainers
from encore.train import arguments
from helpers.trainer_lines import GENUINE, TINY, change, genuine_arguments
from hypothesis import given
from hypothesis import strategies as st


def line(**changes: object) -> list[str]:
    """The genuine command line with some arguments set, added, or (None) removed."""
    files = {"vocab_file": TINY / "vocab.json", "merge_file": TINY / "merges.txt"}
    return change(genuine_arguments(), **files | changes)


def parse(argv: list[str], world_size: int = 2) -> argparse.Namespace:
    return arguments.parse(pretrain_gpt.build_parser(), argv, world_size)


def test_the_genuine_command_line_means_what_megatron_stored() -> None:
    """Values, defaults and what follows from them, against those of the genuine checkpoint."""
    stored = model_states.read(TINY / "tp1" / "checkpoint" / "global_step20").arguments
    ours = vars(parse(line()))
    # that run's machine, what it did not keep, and what is always so here
    here_or_there = {
        "vocab_file",
        "merge_file",
        "local_rank",
        "distributed_backend",
        "position_embedding_type",
        "train_weighted_split_paths_path",
        "valid_weighted_split_paths_path",
        "accumulate_allreduce_grads_in_fp32",
        "no_load_optim",
        "no_load_rng",
    }
    shared = set(ours) & set(stored) - here_or_there
    assert len(shared) > 75
    for name in sorted(shared):
        assert str(ours[name]) == str(stored[name]), name
    assert set(ours) - set(stored) == {"vocab_size", "dump_samples"}


def test_every_argument_of_megatrons_is_honoured_or_refused_as_such() -> None:
    pin = load_trainers()["turkunlp"].commits["causal"]
    honoured = set(pretrain_gpt.build_parser()._option_string_actions)
    refused = (pin.with_value | pin.without_value) - honoured
    assert len(refused) > 100
    for option in refused:
        with pytest.raises(
            UsageError, match=f"{option} is Megatron's, and the built-in trainer does not honour it"
        ):
            parse([*line(), option, *(["1"] if option in pin.with_value else [])])
    assert honoured - pin.with_value - pin.without_value == {
        "-h",
        "--help",
        "--version",
        "--dump-samples",
    }


def test_an_unknown_argument_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse([*line(), "--trian-samples", "3"])
    assert "--train-samples" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"num_layers": None}, "--num-layers"),
        ({"num_layers": 0}, "--num-layers 0 must be 1 to 1,000,000"),
        ({"hidden_size": 30, "kv_channels": None}, "hidden size 30 is not divisible by 4 heads"),
        ({"seq_length": 65}, "--max-position-embeddings must be at least --seq-length"),
        ({"global_batch_size": 6}, "global batch 6 is not a multiple"),
        ({"min_lr": 1}, "--min-lr is above --lr"),
        ({"lr_warmup_samples": 160}, "the warm-up must be shorter"),
        ({"lr_warmup_fraction": 0.1}, "exclude each other"),
        ({"train_samples": 7}, "--train-samples 7 is less than one step of 8"),
        ({"save_interval": None}, "--save needs --save-interval"),
        ({"save_interval": 0}, "--save-interval 0 must be above zero"),
        ({"attention_dropout": 1}, "--attention-dropout 1.0 must be at least 0 and below 1"),
        ({"tensor_model_parallel_size": 2}, "--tensor-model-parallel-size"),
        ({"zero_stage": 3}, "--zero-stage"),
        ({"eval_only": "False"}, "would be read as true by Megatron"),
        ({"eval_iters": -1}, "--eval-iters -1 must be zero or more"),
        ({"lr": "fast"}, "--lr"),
        ({"position_embedding_type": "alibi"}, "--position-embedding-type"),
        ({"deepspeed_config": None}, "--deepspeed and --deepspeed_config go together"),
        (
            {"pad_vocab_size_to": 4992},
            "--pad-vocab-size-to 4992 must be at least the vocabulary's 5000",
        ),
        ({"pad_vocab_size_to": 5001}, "and a multiple of 128"),
        (
            {"override_lr_scheduler": True, "use_checkpoint_lr_scheduler": True},
            "exclude each other",
        ),
        ({"tokenizer_type": "PretrainedFromHF"}, "needs --tokenizer-name-or-path"),
    ],
)
def test_a_refusal_says_what_is_wrong(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line(**changes))
    assert problem in str(caught.value)


def test_an_equals_sign_does_as_well_as_a_blank() -> None:
    argv = [text for text in line(seed=None) if text]
    assert parse([*argv, "--seed=7"]).seed == 7


def test_defaults_follow_from_other_arguments() -> None:
    args = parse(
        line(ffn_hidden_size=None, kv_channels=None, global_batch_size=None, lr_decay_samples=None)
    )
    assert (args.ffn_hidden_size, args.kv_channels, args.global_batch_size) == (128, 8, 4)
    assert (args.lr_decay_samples, args.train_iters) == (160, 40)
    assert parse(
        line(lr_warmup_samples=None, lr_warmup_fraction=0.05)
    ).lr_warmup_samples == pytest.approx(8)


@given(size=st.integers(1, 60_000), multiple=st.sampled_from([1, 64, 128, 1000]))
def test_the_vocabulary_is_padded_to_the_next_multiple(size: int, multiple: int) -> None:
    args = argparse.Namespace(
        vocab_size=size, make_vocab_size_divisible_by=multiple, pad_vocab_size_to=None
    )
    padded = arguments.padded_vocab_size(args)
    assert size <= padded < size + multiple and padded % multiple == 0


@pytest.mark.parametrize("content", [None, b"", b"[1, 2]", b"{}", b'{"a": ', b"\xff\xfe"])
def test_a_bad_vocabulary_is_a_data_error(content: bytes | None, tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocab.json"
    if content is not None:
        vocabulary.write_bytes(content)
    with pytest.raises(DataError, match="vocab"):
        parse(line(vocab_file=vocabulary))


def test_a_hugging_face_tokenizer_counts_with_its_added_tokens(tmp_path: Path) -> None:
    tokenizer = {
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "[UNK]": 2}, "unk_token": "[UNK]"},
        "added_tokens": [
            {"id": 3, "content": "<end>", "special": True, "single_word": False}
            | {"lstrip": False, "rstrip": False, "normalized": False}
        ],
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    args = parse(line(tokenizer_type="PretrainedFromHF", tokenizer_name_or_path=tmp_path))
    assert (args.vocab_size, args.padded_vocab_size) == (4, 128)


@given(
    st.lists(
        st.sampled_from([*GENUINE, "--no-such", "--rampup-batch-size", "-1", "", "x", "--seed=x"]),
        max_size=8,
    )
)
def test_any_words_are_accepted_or_refused_with_a_message(words: list[str]) -> None:
    with pytest.raises(EncoreError):
        parse(words)


@pytest.mark.parametrize(
    "name",
    [
        argument.dest
        for group in arguments._ARGUMENTS.values()
        for argument in group
        if isinstance(argument, arguments._Argument)
        and argument.type in (human.integer, human.number)
    ],
)
@pytest.mark.parametrize("text", ["nan", "inf", "1e999", "1" + "0" * 400, "1" * 5000, "²", "x"])
def test_a_number_that_torch_would_refuse_is_refused_where_it_enters(name: str, text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(line(**{name: text}))
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "changes",
    [
        {"adam_beta1": 1},
        {"adam_beta2": 1.5},
        {"adam_eps": 0},
        {"lr": 0},
        {"num_layers": 10**30},
        {"num_layers": 10**18},
        {"hidden_size": 10**12},
        {"seed": 2**32},
    ],
)
def test_a_value_that_torch_or_numpy_would_refuse_names_its_argument(
    changes: dict[str, object],
) -> None:
    (name,) = changes
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}"):
        parse(line(**changes))
