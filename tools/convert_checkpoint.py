#!/usr/bin/env python3
"""Convert checkpoints between Megatron-DeepSpeed and transformers, reshard, compare, inspect them.

Reads global_stepN folders of any tensor- and pipeline-parallel degree and GPT-2 folders of
transformers, one weight at a time, without executing anything in them. OUT is a new folder and
appears whole. Where a model's heads are narrower than its width, to-transformers adds heads of
zeros, and to-megatron drops them again.

deepspeedai's fork numbers layers and orders the rows of query, key and value otherwise than the
other trainers. Its checkpoints are known by their arguments; --trainer says which trainer is to go
on from a Megatron-DeepSpeed OUT. Files that do not fit the arguments are refused.

A Megatron-DeepSpeed OUT holds weights and arguments, but no optimizer or random states, which
belong to the layout that wrote them. All trainers but deepspeedai's resume from reshard's with
--no-load-optim --no-load-rng, and train from to-megatron's with
--finetune --no-load-optim --no-load-rng --override-lr-scheduler; deepspeedai's trains from either
with --finetune, from step 0.

verify computes the logits of both models in fp32, Megatron's with the built-in trainer's model,
transformers' with its own, and exits with 1 if they differ by more than 1e-5 of the largest logit.
inspect exits with 1 if weights cannot be read.

All bytes of torch's files are compared with the checksums in them. Safetensors have none: a flipped
bit in one shows only where verify finds other logits.

examples:
  tools/convert_checkpoint.py inspect checkpoints/global_step21553
  tools/convert_checkpoint.py to-transformers checkpoints/global_step21553 model \\
      --tokenizer tokenizers/gpt2 --verify
  tools/convert_checkpoint.py verify checkpoints/global_step21553 model
  tools/convert_checkpoint.py to-megatron model megatron --tp 2 --pp 1
  tools/convert_checkpoint.py reshard checkpoints/global_step21553 resharded --tp 4 --pp 2 --verify
  tools/convert_checkpoint.py reshard checkpoints/global_step21553 out --trainer deepspeedai
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore import cli, human
from encore.checkpoints import trainer_format

if TYPE_CHECKING:
    from encore.checkpoints.compare import LogitDifference
    from encore.checkpoints.convert import Conversion
    from encore.checkpoints.megatron_writer import MegatronTarget


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    transformers = actions.add_parser(
        "to-transformers", help="Megatron-DeepSpeed to a GPT2LMHeadModel in safetensors"
    )
    megatron = actions.add_parser(
        "to-megatron", help="a transformers GPT-2 folder to Megatron-DeepSpeed's layout"
    )
    reshard = actions.add_parser("reshard", help="Megatron-DeepSpeed at other parallel degrees")
    verify = actions.add_parser("verify", help="compare the logits of two models")
    inspect = actions.add_parser("inspect", help="print what a checkpoint is, and what it lacks")
    for action in (transformers, reshard):
        action.add_argument(
            "source",
            type=human.path,
            metavar="STEP_FOLDER",
            help="global_stepN, or a folder of several: the newest complete one",
        )
    megatron.add_argument("source", type=human.path, metavar="MODEL", help="a transformers folder")
    for action in (transformers, megatron, reshard):
        action.add_argument("out", type=human.path, metavar="OUT", help="a new folder")
        action.add_argument(
            "--verify", action="store_true", help="compare the logits of both sides afterwards"
        )
    for action in (megatron, reshard):
        action.add_argument(
            "--tp",
            type=human.integer,
            default=1,
            metavar="T",
            help="tensor-parallel degree; default: 1",
        )
        action.add_argument(
            "--pp",
            type=human.integer,
            default=1,
            metavar="P",
            help="pipeline-parallel degree; default: 1",
        )
        action.add_argument(
            "--trainer",
            choices=sorted(trainer_format.BY_TRAINER),
            help="the trainer to go on with; default: "
            + ("that of STEP_FOLDER" if action is reshard else "turkunlp"),
        )
    for action in (transformers, reshard):
        action.add_argument(
            "--tokenizer",
            type=human.name,
            help="folder of the tokenizer that the model was trained with",
        )
        action.add_argument(
            "--from-optimizer",
            action="store_true",
            help="use ZeRO's fp32 weights in place of the layer files'",
        )
    transformers.add_argument(
        "--max-shard-size",
        type=shard_size,
        default="4GiB",
        metavar="SIZE",
        help="split weights into files of at most this size; default: 4GiB",
    )
    for name in ("one", "other"):
        verify.add_argument(
            name,
            type=human.path,
            metavar=name.upper(),
            help="a step folder or a transformers folder",
        )
    inspect.add_argument(
        "path", type=human.path, metavar="PATH", help="a step folder or a transformers folder"
    )
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def shard_size(text: str) -> int:
    """A size of at least a byte."""
    size = human.size(text)
    if size < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} leaves no room for weights; write 4GiB, 500MB or a plain number of bytes"
        )
    return size


def convert(args: argparse.Namespace) -> "Conversion":
    """The conversion that the arguments ask for."""
    # torch takes seconds to import, which --help and a wrong argument need not wait for
    from encore.checkpoints.convert import reshard, to_megatron, to_transformers
    from encore.tokens.tokenizer import load

    if args.action == "to-megatron":
        return to_megatron(args.source, args.out, target(args))
    tokenizer = load(args.tokenizer) if args.tokenizer else None
    if args.action == "reshard":
        return reshard(args.source, args.out, target(args), tokenizer, args.from_optimizer)
    return to_transformers(
        args.source, args.out, tokenizer, args.max_shard_size, args.from_optimizer
    )


def target(args: argparse.Namespace) -> "MegatronTarget":
    """What to write, as the arguments say."""
    from encore.checkpoints.megatron_writer import MegatronTarget

    trainer = trainer_format.BY_TRAINER[args.trainer] if args.trainer else None
    return MegatronTarget(args.tp, args.pp, trainer)


def difference_as_json(difference: "LogitDifference") -> dict[str, object]:
    """A comparison, by name."""
    return {
        "greatest_difference": difference.greatest,
        "largest_logit": difference.largest_logit,
        "relative": difference.relative,
        "tokens": difference.tokens,
        "vocabulary": difference.vocabulary,
        "same": difference.same,
    }


def table(result: dict[str, object]) -> str:
    """A result for people: three digits of a difference are enough, and no checksums."""
    rows: list[tuple[str, object]] = []
    for name, value in result.items():
        if isinstance(value, float):
            rows.append((name, f"{value:.3g}"))
        elif name != "tokenizer":
            rows.append((name, value))
    return human.table(rows)


def inspect_checkpoint(path: Path, as_json: bool) -> int:
    """Print what a checkpoint is."""
    from encore.checkpoints.inspect import facts, rows

    checkpoint: dict[str, Any] = facts(path)
    if as_json:
        cli.print_json(checkpoint)
    else:
        print(human.table(rows(checkpoint)))
    return 1 if checkpoint["unreadable"] else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    if args.action == "inspect":
        return inspect_checkpoint(args.path, args.json)
    result: dict[str, object] = {}
    if args.action == "verify":
        models = (args.one, args.other)
    else:
        conversion = convert(args)
        for note in conversion.notes:
            cli.say(f"note: {note}")
        result = {"out": str(conversion.path), **conversion.record}
        models = (args.source, conversion.path)
    same = True
    if args.action == "verify" or args.verify:
        from encore.checkpoints import compare

        difference = compare.difference(*models, getattr(args, "from_optimizer", False))
        result |= difference_as_json(difference)
        same = difference.same
    if args.json:
        cli.print_json(result)
    else:
        print(table(result))
    return 0 if same else 1


if __name__ == "__main__":
    cli.run(main, extra="convert")
