"""Whether a trainer takes a command line: its parser's arguments and the rules that its validation lays down.

The rules are those of megatron/arguments.py and megatron/microbatches.py at the pinned commits (TurkuNLP 6732bc9 and
a1088c1, BigScience 8387ae1, deepspeedai 4efb479), which agree on them, and of the model's division by tensor-parallel
ranks. tests/manual/check_forks.py holds them to the forks' own code.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from encore.errors import UnknownNameError, UsageError
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
_SPLIT_PATHS = ("--train-weighted-split-paths", "--train-weighted-split-paths-path")


@dataclass(frozen=True)
class Given:
    """A command line taken apart: each argument with its values."""

    values: dict[str, tuple[str, ...]]
    world_size: int

    def has(self, *arguments: str) -> bool:
        """Whether one of these is given."""
        return any(argument in self.values for argument in arguments)

    def text(self, argument: str, default: str) -> str:
        """The argument's value, or its values with blanks between."""
        return " ".join(self.values.get(argument, (default,)))

    def number(self, argument: str, default: float = 0) -> float:
        """The argument's value as a number."""
        text = self.text(argument, str(default))
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"{argument} {text} is not a number", "write a number") from None

    def whole(self, argument: str, default: int = 0) -> int:
        """The argument's value as a whole number."""
        text = self.text(argument, str(default))
        if not text.isascii() or not text.isdigit():
            raise UsageError(f"{argument} {text} is not a whole number", "write digits alone")
        return int(text)


def check_arguments(trainer: Trainer, pin: Pin, args: Sequence[str], world_size: int = 1) -> None:
    """Raise UsageError for the first thing in `args` that the trainer, at this commit and on so many ranks, refuses."""
    given = Given(_taken_apart(trainer, pin, args), world_size)
    for broken in _broken_rules(trainer, pin, given):
        raise UsageError(
            f"trainer {trainer.name} would refuse this: {broken}", "change that setting"
        )


def _taken_apart(trainer: Trainer, pin: Pin, args: Sequence[str]) -> dict[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    valid = (
        pin.with_value | pin.without_value
    )  # empty for the built-in trainer, whose own parser knows
    current = ""
    for text in args:
        if not text.startswith("--"):
            if not current:
                raise UsageError(f"{text!r} stands before any argument", "begin with an argument")
            values[current] += (text,)
            continue
        current = text
        if valid and current not in valid:
            raise UnknownNameError(f"argument of trainer {trainer.name}", current, valid)
        if current in values:
            raise UsageError(
                f"{current} is given twice", "give it once; the trainer would take the last"
            )
        values[current] = ()
    for argument, found in values.items():
        if valid and bool(found) != (argument in pin.with_value):
            what = (
                "needs a value"
                if argument in pin.with_value
                else f"takes no value, not {' '.join(found)}"
            )
            raise UsageError(f"{argument} {what}", f"see the arguments of trainer {trainer.name}")
    return values


def _broken_rules(trainer: Trainer, pin: Pin, given: Given) -> Iterator[str]:
    yield from (f"{argument} is missing" for argument in _REQUIRED if not given.has(argument))
    yield from _broken_parallelism(given)
    yield from _broken_model(given)
    yield from _broken_schedule(given)
    yield from _broken_data(trainer, pin, given)
    if given.has("--deepspeed") != given.has("--deepspeed_config"):
        yield "--deepspeed and --deepspeed_config go together"
    if given.has("--fp16") and given.has("--bf16"):
        yield "--fp16 and --bf16 exclude each other"
    if given.has("--save") and not given.has("--save-interval"):
        yield "--save needs --save-interval"


def _broken_parallelism(given: Given) -> Iterator[str]:
    tensor = given.whole("--tensor-model-parallel-size", 1)
    model = tensor * given.whole("--pipeline-model-parallel-size", 1)
    if model < 1 or given.world_size % model:
        yield f"{given.world_size} ranks are not divisible by tensor × pipeline parallel = {model}"
        return
    heads, ffw = given.whole("--num-attention-heads"), given.whole("--ffn-hidden-size")
    if heads % tensor or ffw % tensor:
        yield f"{heads} heads and feed-forward size {ffw} must be divisible by tensor parallel {tensor}"
    step = given.whole("--micro-batch-size") * (given.world_size // model)
    batch = given.whole("--global-batch-size", step)
    if step < 1 or batch < 1 or batch % step:
        yield f"global batch {batch} is not a multiple of micro-batch × data parallel = {step}"


def _broken_model(given: Given) -> Iterator[str]:
    hidden, heads = given.whole("--hidden-size"), given.whole("--num-attention-heads", 1)
    if not given.has("--kv-channels") and (heads < 1 or hidden % heads):
        yield f"hidden size {hidden} is not divisible by {heads} heads; say --kv-channels"
    if given.text("--position-embedding-type", "absolute") == "rotary":
        if given.has("--max-position-embeddings"):
            yield "rotary positions take no --max-position-embeddings"
    elif given.whole("--max-position-embeddings") < given.whole("--seq-length"):
        yield "--max-position-embeddings must be at least --seq-length"


def _broken_schedule(given: Given) -> Iterator[str]:
    if given.has("--train-samples") == given.has("--train-iters"):
        yield "one of --train-samples and --train-iters is needed, and not both"
    unit, other = ("samples", "iters") if given.has("--train-samples") else ("iters", "samples")
    for argument in (f"--lr-decay-{other}", f"--lr-warmup-{other}"):
        if given.number(argument):
            yield f"{argument} does not go with --train-{unit}"
    if given.has("--lr-warmup-fraction") and given.number(f"--lr-warmup-{unit}"):
        yield f"--lr-warmup-fraction and --lr-warmup-{unit} exclude each other"
    if given.number("--min-lr") > given.number("--lr"):
        yield "--min-lr is above --lr"


def _broken_data(trainer: Trainer, pin: Pin, given: Given) -> Iterator[str]:
    if trainer.data == "weighted-split-paths":
        if given.has(*_SPLIT_PATHS) and given.has("--data-path", "--split"):
            yield "weighted split paths exclude --data-path and --split"
        if not given.has(*_SPLIT_PATHS, "--data-path"):
            yield "no training data; say --train-weighted-split-paths-path"
    elif given.has("--train-data-path") == given.has("--data-path"):
        yield "one of --train-data-path and --data-path is needed, and not both"
    kind = given.text("--tokenizer-type", pin.tokenizer_type)
    for argument in _TOKENIZER_FILES.get(kind, ()):
        if not given.has(argument):
            yield f"tokenizer {kind} needs {argument}"
