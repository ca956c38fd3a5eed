"""Whether a trainer accepts a command line: its parser's arguments, and its validation's rules.

The rules are those of megatron/arguments.py and megatron/microbatches.py at the pinned commits
(TurkuNLP 6732bc9 and a1088c1, BigScience 8387ae1, deepspeedai 4efb479), which agree on them, and
those of dividing the model over tensor-parallel ranks. tests/manual/check_forks.py compares them
with the forks' own code.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from encore.errors import UnknownNameError, UsageError, shortened
from encore.registry.trainers import Pin, Trainer

_REQUIRED = (
    "--num-layers",
    "--hidden-size",
    "--num-attention-heads",
    "--micro-batch-size",
    "--seq-length",
    "--lr",
)
_TOKENIZER_FILES = {
    "GPT2BPETokenizer": ("--vocab-file", "--merge-file"),
    "BertWordPieceLowerCase": ("--vocab-file",),
    "BertWordPieceCase": ("--vocab-file",),
    "PretrainedFromHF": ("--tokenizer-name-or-path",),
    "HFTokenizer": ("--tokenizer-model",),
}
# as many as every number of 64 bits may have
_MOST_DIGITS = 18
_SPLIT_PATHS = ("--train-weighted-split-paths", "--train-weighted-split-paths-path")


@dataclass(frozen=True)
class ArgumentValues:
    """A parsed command line: the values of each argument, none for a switch."""

    values: dict[str, tuple[str, ...]]
    world_size: int

    def has(self, *arguments: str) -> bool:
        """Whether at least one of these is given."""
        return any(argument in self.values for argument in arguments)

    def text(self, argument: str, default: str) -> str:
        """The argument's values, with blanks between."""
        return " ".join(self.values.get(argument, (default,)))

    def number(self, argument: str, default: float = 0) -> float:
        """The argument's value as a number; raises UsageError."""
        text = self.text(argument, str(default))
        value = math.nan
        # float() reads the digits of every script
        if text.isascii():
            with contextlib.suppress(ValueError):
                value = float(text)
        if not math.isfinite(value):
            raise UsageError(
                f"{argument} {shortened(text)} is not a finite number", "write 3e-4 or 0.1"
            )
        return value

    def whole(self, argument: str, default: int = 0) -> int:
        """The argument's value as a whole number; raises UsageError."""
        text = self.text(argument, str(default))
        if not text.isascii() or not text.isdigit():
            raise UsageError(
                f"{argument} {shortened(text)} is not a whole number", "write digits only"
            )
        if len(text) > _MOST_DIGITS:
            raise UsageError(
                f"{argument} {shortened(text)} is too large", f"{_MOST_DIGITS} digits are the most"
            )
        return int(text)


def check_arguments(trainer: Trainer, pin: Pin, args: Sequence[str], world_size: int = 1) -> None:
    """Raise UsageError for the first thing in `args` that the trainer refuses.

    world_size: ranks of the job, of all nodes.
    """
    arguments = ArgumentValues(_parse(trainer, pin, args), world_size)
    for problem in _problems(trainer, pin, arguments):
        raise UsageError(
            f"trainer {trainer.name} refuses these arguments: {problem}",
            "the settings behind them: tools/render_sbatch.py RUN --set help",
        )


def _parse(trainer: Trainer, pin: Pin, args: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The values of each argument, checked against the parser's own arguments."""
    # empty for the built-in trainer, whose own parser knows better
    valid = pin.with_value | pin.without_value
    values: dict[str, tuple[str, ...]] = {}
    argument = ""
    for word in args:
        if not word.startswith("--"):
            if not argument:
                raise UsageError(f"{word!r} precedes any argument", "begin with --ARGUMENT")
            values[argument] += (word,)
            continue
        argument = word
        if valid and argument not in valid:
            kind = f"argument of trainer {trainer.name}"
            raise UnknownNameError(kind, argument, valid, "registry/trainers.yml")
        if argument in values:
            raise UsageError(
                f"{argument} is given twice", "delete one; the trainer would use the last"
            )
        values[argument] = ()
    if valid:
        _check_value_counts(pin, values)
    return values


def _check_value_counts(pin: Pin, values: dict[str, tuple[str, ...]]) -> None:
    for argument, words in values.items():
        if argument in pin.with_value and not words:
            raise UsageError(f"{argument} needs a value", f"write {argument} VALUE")
        if argument in pin.without_value and words:
            raise UsageError(
                f"{argument} accepts no value, not {' '.join(words)}", f"write {argument} alone"
            )


def _problems(trainer: Trainer, pin: Pin, args: ArgumentValues) -> Iterator[str]:
    """What the trainer's validation refuses, as phrases."""
    for argument in _REQUIRED:
        if not args.has(argument):
            yield f"{argument} is missing"
    yield from _parallelism_problems(pin, args)
    yield from _model_problems(args)
    yield from _schedule_problems(args)
    yield from _data_problems(trainer, pin, args)
    if args.has("--deepspeed") != args.has("--deepspeed_config"):
        yield "--deepspeed and --deepspeed_config go together"
    if args.has("--fp16") and args.has("--bf16"):
        yield "--fp16 and --bf16 exclude each other"
    if args.has("--save") and not args.has("--save-interval"):
        yield "--save needs --save-interval"


def _parallelism_problems(pin: Pin, args: ArgumentValues) -> Iterator[str]:
    tensor = args.whole("--tensor-model-parallel-size", 1)
    pipeline = args.whole("--pipeline-model-parallel-size", 1)
    if tensor > 1 and not pin.tensor_parallel:
        yield f"tensor parallel {tensor}, and it has no tensor parallelism"
    if pipeline > 1 and not pin.pipeline_parallel:
        yield f"pipeline parallel {pipeline}, and it has no pipeline parallelism"
    model = tensor * pipeline
    # nothing below makes sense without a whole number of model replicas
    if model < 1 or args.world_size % model:
        yield f"{args.world_size} ranks are not divisible by tensor × pipeline parallel = {model}"
        return
    heads = args.whole("--num-attention-heads")
    ffw = args.whole("--ffn-hidden-size")
    if heads % tensor or ffw % tensor:
        yield (
            f"{heads} heads and feed-forward size {ffw} must be divisible by tensor parallel"
            f" {tensor}"
        )
    # what all data-parallel ranks read at once; a step accumulates whole multiples of it
    step = args.whole("--micro-batch-size") * (args.world_size // model)
    batch = args.whole("--global-batch-size", step)
    if step < 1 or batch < 1 or batch % step:
        yield f"global batch {batch} is not a multiple of micro-batch × data parallel = {step}"


def _model_problems(args: ArgumentValues) -> Iterator[str]:
    hidden = args.whole("--hidden-size")
    heads = args.whole("--num-attention-heads", 1)
    if not args.has("--kv-channels") and (heads < 1 or hidden % heads):
        yield f"hidden size {hidden} is not divisible by {heads} heads; add --kv-channels"
    if args.text("--position-embedding-type", "absolute") == "rotary":
        if args.has("--max-position-embeddings"):
            yield "rotary positions exclude --max-position-embeddings"
    elif args.whole("--max-position-embeddings") < args.whole("--seq-length"):
        yield "--max-position-embeddings must be at least --seq-length"


def _schedule_problems(args: ArgumentValues) -> Iterator[str]:
    if args.has("--train-samples") == args.has("--train-iters"):
        yield "one of --train-samples and --train-iters is needed, and not both"
    # a schedule is in samples or in iterations throughout
    unit = "iters"
    other_unit = "samples"
    if args.has("--train-samples"):
        unit, other_unit = other_unit, unit
    for argument in (f"--lr-decay-{other_unit}", f"--lr-warmup-{other_unit}"):
        if args.number(argument):
            yield f"{argument} does not go with --train-{unit}"
    if args.has("--lr-warmup-fraction") and args.number(f"--lr-warmup-{unit}"):
        yield f"--lr-warmup-fraction and --lr-warmup-{unit} exclude each other"
    if args.number("--min-lr") > args.number("--lr"):
        yield "--min-lr is above --lr"


def _data_problems(trainer: Trainer, pin: Pin, args: ArgumentValues) -> Iterator[str]:
    if trainer.data == "weighted-split-paths":
        if args.has(*_SPLIT_PATHS) and args.has("--data-path", "--split"):
            yield "weighted split paths exclude --data-path and --split"
        if not args.has(*_SPLIT_PATHS, "--data-path"):
            yield "no training data; add --train-weighted-split-paths-path"
    elif args.has("--train-data-path") == args.has("--data-path"):
        yield "one of --train-data-path and --data-path is needed, and not both"
    # without the argument, the entry point's own default decides which files it opens
    kind = args.text("--tokenizer-type", pin.tokenizer_type)
    for argument in _TOKENIZER_FILES.get(kind, ()):
        if not args.has(argument):
            yield f"tokenizer {kind} needs {argument}"
