"""The built-in trainer's command line: Megatron-DeepSpeed's, as far as it is honoured, and no further.

Names, defaults and rules are Megatron's, so that one command line serves both. An argument that is Megatron's but not
honoured here is an error that says so; one that is nobody's gets the nearest valid ones.
source: TurkuNLP 6732bc9 megatron/arguments.py, megatron/tokenizer/tokenizer.py (vocabulary and its padding)
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from encore import cli
from encore.errors import DataError, UnknownNameError, UsageError
from encore.model.config import padded_vocabulary
from encore.registry.trainer_rules import check_arguments
from encore.registry.trainers import load_trainers

_TRAINER = "builtin"
_PEER = "turkunlp"


def build_parser(docstring: str | None) -> argparse.ArgumentParser:
    """The command's options, in Megatron's groups; a wrong one raises UsageError."""
    parser = cli.parser(docstring)
    parser.error = _refuse  # type: ignore[method-assign]
    for title, add in _GROUPS.items():
        add(parser.add_argument_group(title))
    return parser


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str], world_size: int
) -> argparse.Namespace:
    """The arguments under Megatron's names, checked as it checks them, with what follows from them filled in.

    Raises UsageError for an argument or value that is not taken, DataError for a tokenizer that cannot be read.
    """
    args, rest = parser.parse_known_args(argv)
    if rest:
        _refuse_unknown(rest[0].partition("=")[0], parser)
    spelled = [
        part for text in argv for part in (text.split("=", 1) if text.startswith("--") else [text])
    ]
    trainer = load_trainers()[_TRAINER]
    check_arguments(trainer, trainer.commits["causal"], spelled, world_size)
    _check(args)
    args.world_size = args.data_parallel_size = world_size
    args.ffn_hidden_size = args.ffn_hidden_size or 4 * args.hidden_size
    args.kv_channels = args.kv_channels or args.hidden_size // args.num_attention_heads
    args.global_batch_size = args.global_batch_size or args.micro_batch_size * world_size
    args.train_iters = args.train_samples // args.global_batch_size
    if not args.train_iters:
        step = args.global_batch_size
        raise UsageError(
            f"--train-samples {args.train_samples} is less than one step of {step}", "raise it"
        )
    args.lr_decay_samples = args.lr_decay_samples or args.train_samples
    if args.lr_warmup_fraction is not None:
        args.lr_warmup_samples = args.lr_warmup_fraction * args.lr_decay_samples
    if args.lr_warmup_samples >= args.lr_decay_samples:
        raise UsageError(
            "the warm-up must be shorter than --lr-decay-samples", "lower --lr-warmup-samples"
        )
    args.vocab_size = vocabulary_size(args)
    args.padded_vocab_size = padded(args)
    return args


def vocabulary_size(args: argparse.Namespace) -> int:
    """Entries of the tokenizer as Megatron counts them, unpadded; raises DataError."""
    if args.tokenizer_type == "PretrainedFromHF":
        from encore.tokens import (
            tokenizer,
        )  # the one use of tokenizers, not needed for GPT-2's files

        return tokenizer.load(args.tokenizer_name_or_path).vocabulary_size
    try:
        entries = json.loads(Path(args.vocab_file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"--vocab-file {args.vocab_file} does not exist", "check the path"
        ) from None
    except ValueError as error:
        raise DataError(
            f"--vocab-file {args.vocab_file} is not JSON: {error}", "give a GPT-2 vocab.json"
        ) from None
    if not isinstance(entries, dict) or not entries:
        raise DataError(
            f"--vocab-file {args.vocab_file} is not a vocabulary", "give a GPT-2 vocab.json"
        )
    return len(entries)


def padded(args: argparse.Namespace) -> int:
    """The vocabulary size that the embedding has; raises UsageError for one that cannot be."""
    multiple, wanted = args.make_vocab_size_divisible_by, args.pad_vocab_size_to
    if wanted is None:
        return padded_vocabulary(args.vocab_size, multiple)
    if wanted < args.vocab_size or wanted % multiple:
        raise UsageError(
            f"--pad-vocab-size-to {wanted} must be at least the vocabulary's {args.vocab_size} "
            f"and a multiple of {multiple}",
            "change it or --make-vocab-size-divisible-by",
        )
    return wanted


def _refuse(message: str) -> NoReturn:
    raise UsageError(message, "see --help")


def _refuse_unknown(argument: str, parser: argparse.ArgumentParser) -> NoReturn:
    pin = load_trainers()[_PEER].commits["causal"]
    if argument in pin.with_value | pin.without_value:
        raise UsageError(
            f"{argument} is Megatron's, and the built-in trainer does not honour it",
            f"remove it, or train with Megatron-DeepSpeed (tools/render_sbatch.py --trainer {_PEER})",
        )
    raise UnknownNameError(
        "argument", argument, [name for name in parser._option_string_actions if name[:2] == "--"]
    )


def _check(args: argparse.Namespace) -> None:
    """The rules that hold for this trainer's values, beyond those that all trainers share."""
    for name in _POSITIVE:
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise UsageError(f"--{name.replace('_', '-')} {value} must be above zero", "change it")
    for name in ("attention_dropout", "hidden_dropout"):
        if not 0 <= getattr(args, name) < 1:
            raise UsageError(
                f"--{name.replace('_', '-')} must be at least 0 and below 1", "change it"
            )
    if args.override_lr_scheduler and args.use_checkpoint_lr_scheduler:
        raise UsageError(
            "--override-lr-scheduler and --use-checkpoint-lr-scheduler exclude each other",
            "give one",
        )
    if args.eval_iters < 0:
        raise UsageError("--eval-iters must be zero or more", "0 switches evaluation off")


def _true(text: str) -> bool:
    """Megatron's --eval-only is true for any value, "False" too; here only a word for true is taken."""
    if text.lower() in ("true", "1", "yes"):
        return True
    raise argparse.ArgumentTypeError(
        f"{text} would be read as true by Megatron; leave --eval-only out to train"
    )


_POSITIVE = (
    *(
        "num_layers",
        "hidden_size",
        "ffn_hidden_size",
        "num_attention_heads",
        "kv_channels",
        "layernorm_epsilon",
    ),
    *(
        "micro_batch_size",
        "train_samples",
        "seq_length",
        "make_vocab_size_divisible_by",
        "checkpoint_num_layers",
    ),
    *("log_interval", "save_interval", "eval_interval", "exit_interval", "exit_duration_in_mins"),
    *("tensorboard_log_interval", "seed", "lr", "lr_decay_samples"),
)


def _model(group: Any) -> None:
    add = group.add_argument
    add("--num-layers", type=int, required=True)
    add("--hidden-size", type=int, required=True)
    add("--num-attention-heads", type=int, required=True)
    add("--ffn-hidden-size", type=int, help="default: 4 × hidden size")
    add("--kv-channels", type=int, help="per head; default: hidden size / heads")
    add("--seq-length", type=int, required=True, help="tokens per sample")
    add("--max-position-embeddings", type=int, required=True)
    add(
        "--position-embedding-type",
        choices=["absolute"],
        default="absolute",
        help="default: absolute",
    )
    add("--make-vocab-size-divisible-by", type=int, default=128, help="default: 128")
    add("--pad-vocab-size-to", type=int)
    add("--layernorm-epsilon", type=float, default=1e-5, help="default: 1e-5")
    add("--init-method-std", type=float, default=0.02, help="default: 0.02")
    add(
        "--no-bias-gelu-fusion",
        action="store_false",
        dest="bias_gelu_fusion",
        help="exact GELU instead of tanh's",
    )
    add("--attention-dropout", type=float, default=0.1, help="default: 0.1")
    add("--hidden-dropout", type=float, default=0.1, help="default: 0.1")


def _training(group: Any) -> None:
    add = group.add_argument
    add("--micro-batch-size", type=int, required=True, help="samples per rank and pass")
    add("--global-batch-size", type=int, help="samples per step; default: micro-batch × ranks")
    add("--train-samples", type=int, required=True, help="samples of the whole run")
    add("--seed", type=int, default=1234, help="default: 1234")
    add(
        "--bf16",
        action="store_true",
        help="bf16 weights and products; fp32 gradients and optimizer",
    )
    add(
        "--checkpoint-activations",
        action="store_true",
        help="recompute activations in the backward pass",
    )
    add(
        "--checkpoint-num-layers", type=int, default=1, help="layers per recomputed run; default: 1"
    )
    add("--exit-interval", type=int, help="save and end at the next step divisible by this")
    add("--exit-duration-in-mins", type=int, help="save and end after so many minutes")
    add("--kill-switch-path", help="save and end when this file appears")
    add("--eval-only", type=_true, help="evaluate, train nothing")
    add(
        "--dump-samples",
        nargs=2,
        metavar=("N", "FILE.npz"),
        help="write the first N samples and end",
    )


def _optimizer(group: Any) -> None:
    add = group.add_argument
    add(
        "--optimizer",
        choices=["adam"],
        default="adam",
        help="AdamW, as Megatron's adam is; default: adam",
    )
    add("--lr", type=float, required=True)
    add("--min-lr", type=float, default=0.0, help="default: 0")
    add(
        "--lr-decay-style",
        choices=["constant", "linear", "cosine", "inverse_sqrt"],
        default="linear",
    )
    add("--lr-decay-samples", type=int, help="default: --train-samples")
    add("--lr-warmup-style", choices=["constant", "linear"], default="linear")
    add("--lr-warmup-samples", type=int, default=0)
    add("--lr-warmup-fraction", type=float, help="of --lr-decay-samples")
    add(
        "--override-lr-scheduler",
        action="store_true",
        help="this command line's schedule, not the checkpoint's",
    )
    add("--use-checkpoint-lr-scheduler", action="store_true", help="the checkpoint's schedule")
    add(
        "--weight-decay",
        type=float,
        default=0.01,
        help="default: 0.01; none on biases and layer norms",
    )
    add("--clip-grad", type=float, default=1.0, help="default: 1.0; 0 for none")
    add("--adam-beta1", type=float, default=0.9)
    add("--adam-beta2", type=float, default=0.999)
    add("--adam-eps", type=float, default=1e-8)


def _data(group: Any) -> None:
    add = group.add_argument
    add(
        "--train-weighted-split-paths-path",
        type=Path,
        required=True,
        help="data-path file, one group",
    )
    add(
        "--valid-weighted-split-paths-path",
        type=Path,
        help="data-path file, one group per validation set",
    )
    add("--test-weighted-split-paths-path", type=Path, help="data-path file, evaluated at the end")
    add("--data-impl", choices=["mmap", "infer"], default="infer")
    add("--dataloader-type", choices=["single"], default="single")
    add(
        "--tokenizer-type",
        choices=["GPT2BPETokenizer", "PretrainedFromHF"],
        default="GPT2BPETokenizer",
    )
    add("--vocab-file", help="GPT-2's vocab.json; gives the vocabulary's size")
    add("--merge-file", help="GPT-2's merges.txt")
    add("--tokenizer-name-or-path", help="folder of a tokenizer.json, for PretrainedFromHF")
    add("--eval-interval", type=int, default=1000, help="default: 1000 steps")
    add("--eval-iters", type=int, default=100, help="default: 100 batches")


def _checkpoints(group: Any) -> None:
    add = group.add_argument
    add("--save", type=Path, help="folder for checkpoints")
    add("--save-interval", type=int, help="steps between checkpoints")
    add("--load", type=Path, help="folder to resume from; empty or absent: start from new weights")
    add("--no-load-optim", action="store_true", help="go on from the step, with a fresh optimizer")
    add("--finetune", action="store_true", help="load the weights alone and start at step 0")


def _logging(group: Any) -> None:
    add = group.add_argument
    add("--log-interval", type=int, default=100, help="default: 100 steps")
    add("--tensorboard-dir", type=Path)
    add("--tensorboard-queue-size", type=int, default=1000)
    add("--tensorboard-log-interval", type=int, default=1)
    add("--log-timers-to-tensorboard", action="store_true")
    add("--log-batch-size-to-tensorboard", action="store_true")
    add("--log-validation-ppl-to-tensorboard", action="store_true")
    misspelt = "--no-log-learnig-rate-to-tensorboard"  # by Megatron
    add(misspelt, action="store_false", dest="log_learning_rate_to_tensorboard")


def _parallelism(group: Any) -> None:
    add = group.add_argument
    add("--tensor-model-parallel-size", type=int, choices=[1], default=1)
    add("--pipeline-model-parallel-size", type=int, choices=[1], default=1)
    add(
        "--distributed-backend", choices=["nccl", "gloo"], help="default: nccl with GPUs, else gloo"
    )
    add("--local_rank", type=int, help="set by the launcher")
    add("--deepspeed", action="store_true", help="train with DeepSpeed's engine")
    add("--deepspeed_config", type=Path)
    add(
        "--zero-stage",
        type=int,
        choices=[1],
        default=1,
        help="of DeepSpeed; without it nothing is partitioned",
    )


def _without_effect(group: Any) -> None:
    """What changes nothing here: fusions and precisions that are always so, workers that are not needed."""
    add = group.add_argument
    for fusion in ("masked-softmax", "bias-dropout", "layer-norm", "optimizer"):
        dest = f"{fusion.replace('-', '_')}_fusion"
        add(
            f"--no-{fusion}-fusion",
            action="store_false",
            dest=dest,
            help="fusions are chosen by device",
        )
    add(
        "--no-query-key-layer-scaling",
        action="store_false",
        dest="apply_query_key_layer_scaling",
        help="cancels out",
    )
    add("--attention-softmax-in-fp32", action="store_true", help="always so")
    add("--accumulate-allreduce-grads-in-fp32", action="store_true", help="always so")
    add(
        "--no-log-loss-scale-to-tensorboard",
        action="store_false",
        dest="log_loss_scale_to_tensorboard",
    )
    add(
        "--deepspeed-activation-checkpointing",
        action="store_true",
        help="--checkpoint-activations decides",
    )
    add("--num-workers", type=int, default=2, help="samples come from memory maps without workers")
    add("--valid-num-workers", type=int, default=2, help="as --num-workers")


_GROUPS = {
    "model": _model,
    "training": _training,
    "optimizer and learning rate": _optimizer,
    "data and validation": _data,
    "checkpoints": _checkpoints,
    "logging": _logging,
    "parallelism": _parallelism,
    "taken without effect": _without_effect,
}
