"""The built-in trainer's command line: Megatron-DeepSpeed's, as far as it is honoured.

Names, defaults and rules are Megatron's, so that one command line serves both. A Megatron argument
that is not honoured here is an error that says so; an unknown one gets the nearest valid names.
source: TurkuNLP 6732bc9 megatron/arguments.py, megatron/tokenizer/tokenizer.py (the vocabulary and
its padding)
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from encore import human, strict_json
from encore.errors import DataError, UnknownNameError, UsageError
from encore.model.config import padded_vocabulary
from encore.registry.trainer_rules import check_arguments
from encore.registry.trainers import load_trainers
from encore.train.schedule import DECAY_STYLES

_TRAINER = "builtin"
_PEER = "turkunlp"


class _Range(NamedTuple):
    """The values that an argument accepts."""

    words: str
    holds: Callable[[float], bool]


# refused at once: Megatron accepts some such values, and fails once the job has its nodes
_POSITIVE = _Range("must be above zero", lambda value: value > 0)
_NOT_NEGATIVE = _Range("must be zero or more", lambda value: value >= 0)
# a matrix of a million rows and columns is more than any machine holds
_DIMENSION = _Range("must be 1 to 1,000,000", lambda value: 1 <= value <= 10**6)
# what numpy's RandomState takes, with which Megatron shuffles
_SEED = _Range("must be 1 to 4,294,967,295", lambda value: 1 <= value < 2**32)
_PROBABILITY = _Range("must be at least 0 and below 1", lambda value: 0 <= value < 1)


@dataclass(frozen=True)
class _Argument:
    """An argument with a value."""

    name: str
    type: Callable[[str], Any]
    default: Any = None
    help: str = ""
    required: bool = False
    range: _Range | None = None
    choices: tuple[Any, ...] | None = None

    @property
    def dest(self) -> str:
        """The attribute that holds the value."""
        return self.name.lstrip("-").replace("-", "_")

    def add_to(self, group: Any) -> None:
        """Declare it to argparse."""
        notes = [self.help] if self.help else []
        if self.default is not None:
            notes.append(f"default: {self.default}")
        group.add_argument(
            self.name,
            type=self.type,
            default=self.default,
            required=self.required,
            choices=self.choices,
            help="; ".join(notes),
        )


@dataclass(frozen=True)
class _Switch:
    """An argument without a value; turns_off: the attribute that is true without it."""

    name: str
    help: str = ""
    turns_off: str = ""

    def add_to(self, group: Any) -> None:
        """Declare it to argparse."""
        if self.turns_off:
            group.add_argument(self.name, action="store_false", dest=self.turns_off, help=self.help)
        else:
            group.add_argument(self.name, action="store_true", help=self.help)


def _true(text: str) -> bool:
    """Megatron's --eval-only is true for any value, "False" too; here only for a word for true."""
    if text.lower() in ("true", "1", "yes"):
        return True
    raise argparse.ArgumentTypeError(
        f"{text} would be read as true by Megatron; leave --eval-only out to train"
    )


_FUSIONS = "no effect: kernels are chosen by device"

# By the groups of --help. A hyperparameter without a default here has none in Megatron either.
_ARGUMENTS: dict[str, tuple[_Argument | _Switch, ...]] = {
    "model": (
        _Argument("--num-layers", human.integer, required=True, range=_DIMENSION),
        _Argument("--hidden-size", human.integer, required=True, range=_DIMENSION),
        _Argument("--num-attention-heads", human.integer, required=True, range=_DIMENSION),
        _Argument(
            "--ffn-hidden-size", human.integer, help="default: 4 × hidden size", range=_DIMENSION
        ),
        _Argument(
            "--kv-channels",
            human.integer,
            help="per head; default: hidden size / heads",
            range=_DIMENSION,
        ),
        _Argument(
            "--seq-length", human.integer, help="tokens per sample", required=True, range=_DIMENSION
        ),
        # registry/trainer_rules.py holds it against --seq-length
        _Argument("--max-position-embeddings", human.integer, required=True),
        # with one choice, so that a command line of Megatron's may spell it out
        _Argument("--position-embedding-type", str, "absolute", choices=("absolute",)),
        _Argument("--make-vocab-size-divisible-by", human.integer, 128, range=_POSITIVE),
        _Argument("--pad-vocab-size-to", human.integer),
        _Argument("--layernorm-epsilon", human.number, 1e-5, range=_POSITIVE),
        _Argument("--init-method-std", human.number, 0.02),
        _Switch("--no-bias-gelu-fusion", "exact GELU, not its tanh form", "bias_gelu_fusion"),
        _Argument("--attention-dropout", human.number, 0.1, range=_PROBABILITY),
        _Argument("--hidden-dropout", human.number, 0.1, range=_PROBABILITY),
    ),
    "training": (
        _Argument(
            "--micro-batch-size",
            human.integer,
            help="samples per rank and pass",
            required=True,
            range=_DIMENSION,
        ),
        _Argument(
            "--global-batch-size",
            human.integer,
            help="samples per step; default: micro-batch × ranks",
        ),
        _Argument(
            "--train-samples",
            human.integer,
            help="samples of the whole run",
            required=True,
            range=_POSITIVE,
        ),
        _Argument("--seed", human.integer, 1234, range=_SEED),
        _Switch("--bf16", "bf16 weights and products; fp32 gradients and optimizer"),
        _Switch("--checkpoint-activations", "recompute activations in the backward pass"),
        _Argument(
            "--checkpoint-num-layers",
            human.integer,
            1,
            "layers recomputed together",
            range=_POSITIVE,
        ),
        _Argument(
            "--exit-interval",
            human.integer,
            help="save and end at multiples of this step",
            range=_POSITIVE,
        ),
        _Argument(
            "--exit-duration-in-mins",
            human.integer,
            help="save and end after this many minutes",
            range=_POSITIVE,
        ),
        _Argument("--kill-switch-path", str, help="save and end when this file appears"),
        _Argument("--eval-only", _true, help="evaluate, do not train"),
    ),
    "optimizer and learning rate": (
        _Argument("--optimizer", str, "adam", "AdamW, as in Megatron", choices=("adam",)),
        _Argument("--lr", human.number, required=True, range=_POSITIVE),
        _Argument("--min-lr", human.number, 0.0),
        _Argument(
            "--lr-decay-style",
            str,
            "linear",
            choices=DECAY_STYLES,
        ),
        _Argument(
            "--lr-decay-samples", human.integer, help="default: --train-samples", range=_POSITIVE
        ),
        _Argument("--lr-warmup-style", str, "linear", choices=("constant", "linear")),
        _Argument("--lr-warmup-samples", human.integer, 0),
        _Argument("--lr-warmup-fraction", human.number, help="of --lr-decay-samples"),
        _Switch("--override-lr-scheduler", "use this schedule, not the checkpoint's"),
        _Switch("--use-checkpoint-lr-scheduler", "use the checkpoint's schedule"),
        _Argument("--weight-decay", human.number, 0.01, "none on biases and layer norms"),
        _Argument("--clip-grad", human.number, 1.0, "0 for none"),
        _Argument("--adam-beta1", human.number, 0.9, range=_PROBABILITY),
        _Argument("--adam-beta2", human.number, 0.999, range=_PROBABILITY),
        _Argument("--adam-eps", human.number, 1e-8, range=_POSITIVE),
    ),
    "data and validation": (
        _Argument(
            "--train-weighted-split-paths-path",
            Path,
            help="data-path file, one group",
            required=True,
        ),
        _Argument(
            "--valid-weighted-split-paths-path",
            Path,
            help="data-path file, one group per validation set",
        ),
        _Argument(
            "--test-weighted-split-paths-path", Path, help="data-path file, evaluated at the end"
        ),
        _Argument("--data-impl", str, "infer", choices=("mmap", "infer")),
        _Argument("--dataloader-type", str, "single", choices=("single",)),
        _Argument(
            "--tokenizer-type",
            str,
            "GPT2BPETokenizer",
            choices=("GPT2BPETokenizer", "PretrainedFromHF"),
        ),
        _Argument("--vocab-file", str, help="GPT-2's vocab.json; gives the vocabulary's size"),
        _Argument("--merge-file", str, help="GPT-2's merges.txt"),
        _Argument(
            "--tokenizer-name-or-path",
            str,
            help="folder of a tokenizer.json, for PretrainedFromHF",
        ),
        _Argument("--eval-interval", human.integer, 1000, "steps", range=_POSITIVE),
        _Argument(
            "--eval-iters", human.integer, 100, "batches; 0 for no evaluation", range=_NOT_NEGATIVE
        ),
    ),
    "checkpoints": (
        _Argument("--save", Path, help="folder for checkpoints"),
        _Argument(
            "--save-interval", human.integer, help="steps between checkpoints", range=_POSITIVE
        ),
        _Argument(
            "--load",
            Path,
            help="folder to resume from; where it equals --save, it may be empty or absent",
        ),
        _Switch("--no-load-optim", "resume at the step, with a fresh optimizer"),
        _Switch("--no-load-rng", "always so: each step seeds its own draws"),
        _Switch("--finetune", "load the weights alone and start at step 0"),
    ),
    "logging": (
        _Argument("--log-interval", human.integer, 100, "steps", range=_POSITIVE),
        _Argument("--tensorboard-dir", Path),
        _Argument("--tensorboard-queue-size", human.integer, 1000),
        _Argument("--tensorboard-log-interval", human.integer, 1, "steps", range=_POSITIVE),
        _Switch("--log-timers-to-tensorboard"),
        _Switch("--log-batch-size-to-tensorboard"),
        _Switch("--log-validation-ppl-to-tensorboard"),
        # misspelt by Megatron
        _Switch(
            "--no-log-learnig-rate-to-tensorboard", turns_off="log_learning_rate_to_tensorboard"
        ),
    ),
    "parallelism": (
        _Argument("--tensor-model-parallel-size", human.integer, 1, choices=(1,)),
        _Argument("--pipeline-model-parallel-size", human.integer, 1, choices=(1,)),
        _Argument(
            "--distributed-backend",
            str,
            help="default: nccl with GPUs, else gloo",
            choices=("nccl", "gloo"),
        ),
        # some launchers pass it, in this spelling; the environment has it as well
        _Argument("--local_rank", human.integer, help="set by the launcher"),
        _Switch("--deepspeed", "train with DeepSpeed's engine"),
        _Argument("--deepspeed_config", Path),
        _Argument(
            "--zero-stage",
            human.integer,
            1,
            "with --deepspeed; 0 partitions nothing",
            choices=(0, 1),
        ),
    ),
    # so that the command lines of paper runs work unchanged
    "accepted without effect": (
        _Switch("--no-masked-softmax-fusion", _FUSIONS, "masked_softmax_fusion"),
        _Switch("--no-bias-dropout-fusion", _FUSIONS, "bias_dropout_fusion"),
        _Switch("--no-layer-norm-fusion", _FUSIONS, "layer_norm_fusion"),
        _Switch("--no-optimizer-fusion", _FUSIONS, "optimizer_fusion"),
        _Switch("--no-query-key-layer-scaling", "it cancels out", "apply_query_key_layer_scaling"),
        _Switch("--attention-softmax-in-fp32", "always so"),
        _Switch("--accumulate-allreduce-grads-in-fp32", "always so"),
        _Switch("--no-log-loss-scale-to-tensorboard", turns_off="log_loss_scale_to_tensorboard"),
        _Switch("--deepspeed-activation-checkpointing", "--checkpoint-activations decides"),
        _Argument(
            "--num-workers", human.integer, 2, "samples come from memory maps without workers"
        ),
        _Argument("--valid-num-workers", human.integer, 2, "as --num-workers"),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the trainer's arguments, in Megatron's groups; what argparse refuses is a UsageError."""
    parser.error = _refuse  # type: ignore[method-assign]  # argparse would print all of the usage
    for title, arguments in _ARGUMENTS.items():
        group = parser.add_argument_group(title)
        for argument in arguments:
            argument.add_to(group)
    # the one argument that Megatron lacks
    parser.add_argument(
        "--dump-samples",
        nargs=2,
        metavar=("N", "FILE.npz"),
        help="write the first N samples of each data set and end",
    )


def parse(
    parser: argparse.ArgumentParser, argv: Sequence[str], world_size: int
) -> argparse.Namespace:
    """The arguments under Megatron's names, checked as it checks them, with derived ones filled in.

    Raises UsageError for an argument or value that is not accepted, DataError for a tokenizer that
    cannot be read.
    """
    args, rest = parser.parse_known_args(argv)
    if rest:
        _refuse_unknown(rest[0].partition("=")[0], parser)
    words = []
    for text in argv:
        # --name=value is two words to Megatron's rules
        words += text.split("=", 1) if text.startswith("--") else [text]
    trainer = load_trainers()[_TRAINER]
    check_arguments(trainer, trainer.commits["causal"], words, world_size)
    _check(args)
    # all of these end up in checkpoints, whose readers expect Megatron's names
    args.world_size = args.data_parallel_size = world_size
    args.ffn_hidden_size = args.ffn_hidden_size or 4 * args.hidden_size
    args.kv_channels = args.kv_channels or args.hidden_size // args.num_attention_heads
    args.global_batch_size = args.global_batch_size or args.micro_batch_size * world_size
    args.train_iters = args.train_samples // args.global_batch_size
    if not args.train_iters:
        step = args.global_batch_size
        raise UsageError(
            f"--train-samples {args.train_samples} is less than one step of {step}",
            f"raise --train-samples to {step} or more, or lower --global-batch-size",
        )
    # Megatron counts the schedule in samples, so that it does not depend on the batch size
    args.lr_decay_samples = args.lr_decay_samples or args.train_samples
    if args.lr_warmup_fraction is not None:
        args.lr_warmup_samples = args.lr_warmup_fraction * args.lr_decay_samples
    if args.lr_warmup_samples >= args.lr_decay_samples:
        raise UsageError(
            f"the warm-up must be shorter than --lr-decay-samples {args.lr_decay_samples}",
            "lower --lr-warmup-samples or --lr-warmup-fraction",
        )
    args.vocab_size = _vocabulary_size(args)
    args.padded_vocab_size = padded_vocab_size(args)
    return args


def padded_vocab_size(args: argparse.Namespace) -> int:
    """The rows of the word embedding; raises UsageError where --pad-vocab-size-to does not fit."""
    multiple: int = args.make_vocab_size_divisible_by
    size: int | None = args.pad_vocab_size_to
    least = padded_vocabulary(args.vocab_size, multiple)
    if size is None:
        return least
    if size < args.vocab_size or size % multiple:
        raise UsageError(
            f"--pad-vocab-size-to {size} must be at least the vocabulary's {args.vocab_size}"
            f" and a multiple of {multiple}",
            f"use {least}, or change --make-vocab-size-divisible-by",
        )
    return size


def _vocabulary_size(args: argparse.Namespace) -> int:
    """Entries of the tokenizer as Megatron counts them, unpadded; raises DataError."""
    if args.tokenizer_type == "PretrainedFromHF":
        # GPT-2's files do without the tokenizers package
        from encore.tokens import tokenizer

        return tokenizer.load(args.tokenizer_name_or_path).vocabulary_size
    hint = "give a GPT-2 vocab.json"
    entries = strict_json.read_object(Path(args.vocab_file), DataError, hint, "--vocab-file")
    if not entries:
        raise DataError(f"--vocab-file {args.vocab_file} is not a vocabulary", hint)
    return len(entries)


def _refuse(message: str) -> NoReturn:
    raise UsageError(message, "see tools/pretrain_gpt.py --help")


def _refuse_unknown(argument: str, parser: argparse.ArgumentParser) -> NoReturn:
    pin = load_trainers()[_PEER].commits["causal"]
    if argument in pin.with_value | pin.without_value:
        raise UsageError(
            f"{argument} is Megatron's, and the built-in trainer does not honour it",
            "remove it, or train with Megatron-DeepSpeed"
            f" (tools/render_sbatch.py --trainer {_PEER})",
        )
    names = [name for name in parser._option_string_actions if name.startswith("--")]
    raise UnknownNameError("argument", argument, names, "tools/pretrain_gpt.py --help")


def _check(args: argparse.Namespace) -> None:
    """The rules of this trainer's values, beyond those that all trainers share."""
    for group in _ARGUMENTS.values():
        for argument in group:
            if isinstance(argument, _Argument):
                _check_range(argument, getattr(args, argument.dest))
    if args.override_lr_scheduler and args.use_checkpoint_lr_scheduler:
        raise UsageError(
            "--override-lr-scheduler and --use-checkpoint-lr-scheduler exclude each other",
            "remove one of them",
        )


def _check_range(argument: _Argument, value: Any) -> None:
    if argument.range is None or value is None or argument.range.holds(value):
        return
    hint = ""
    if argument.default is not None:
        hint = f"leave it out for its default, {argument.default}"
    raise UsageError(f"{argument.name} {value} {argument.range.words}", hint)
