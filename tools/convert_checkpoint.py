#!/usr/bin/env python3
"""Convert checkpoints between Megatron-DeepSpeed and transformers, change their parallel degrees, compare, inspect.

Reads global_stepN folders of any tensor- and pipeline-parallel degree and GPT-2 folders of transformers, one layer at a
time, without executing anything that they hold. OUT is a new folder and appears whole. A Megatron-DeepSpeed OUT has the
weights and the arguments, no optimizer or random states, for those belong to the layout that wrote them: go on with
--no-load-optim --no-load-rng, or begin with --finetune. Where a model's heads are narrower than its width, heads of
zeros make it up for transformers, and go on the way back.

verify computes the logits of both sides in fp32, Megatron's by the built-in trainer's model, transformers' by its own,
and exits with 1 where they differ by more than 1e-5 of the largest logit; inspect does where weights cannot be read.

examples:
  tools/convert_checkpoint.py inspect checkpoints/global_step21553
  tools/convert_checkpoint.py to-transformers checkpoints/global_step21553 model --tokenizer tokenizers/gpt2 --verify
  tools/convert_checkpoint.py verify checkpoints/global_step21553 model
  tools/convert_checkpoint.py to-megatron model megatron --tp 2 --pp 1
  tools/convert_checkpoint.py reshard checkpoints/global_step21553 resharded --tp 4 --pp 2 --verify
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from encore import cli, human

if TYPE_CHECKING:
    from encore.checkpoints.compare import LogitDifference
    from encore.checkpoints.convert import Conversion


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
    hugging = acts.add_parser(
        "to-transformers", help="Megatron-DeepSpeed to a GPT2LMHeadModel in safetensors"
    )
    megatron = acts.add_parser(
        "to-megatron", help="a transformers GPT-2 folder to Megatron-DeepSpeed's layout"
    )
    reshard = acts.add_parser("reshard", help="Megatron-DeepSpeed at other parallel degrees")
    verify = acts.add_parser("verify", help="compare the logits of two models")
    inspect = acts.add_parser("inspect", help="say what a checkpoint is, and what it lacks")
    for act in (hugging, reshard):
        act.add_argument(
            "source",
            type=Path,
            metavar="STEP_FOLDER",
            help="global_stepN, or the folder of several",
        )
    megatron.add_argument("source", type=Path, metavar="MODEL", help="a transformers folder")
    for act in (hugging, megatron, reshard):
        act.add_argument("out", type=Path, metavar="OUT", help="a new folder")
        act.add_argument(
            "--verify", action="store_true", help="then compare the logits of both sides"
        )
    for act in (megatron, reshard):
        act.add_argument(
            "--tp", type=int, default=1, metavar="T", help="tensor-parallel degree; default: 1"
        )
        act.add_argument(
            "--pp", type=int, default=1, metavar="P", help="pipeline-parallel degree; default: 1"
        )
    for act in (hugging, reshard):
        act.add_argument("--tokenizer", help="folder of the tokenizer that it was trained with")
        act.add_argument(
            "--from-optimizer",
            action="store_true",
            help="take ZeRO's fp32 weights instead of the layer files'",
        )
    hugging.add_argument(
        "--max-shard-size",
        type=shard_size,
        default="4GiB",
        metavar="SIZE",
        help="of one file; default: 4GiB",
    )
    verify.add_argument(
        "one", type=Path, metavar="A", help="a step folder or a transformers folder"
    )
    verify.add_argument("other", type=Path, metavar="B", help="another")
    inspect.add_argument(
        "path", type=Path, metavar="PATH", help="a step folder or a transformers folder"
    )
    for act in acts.choices.values():
        act.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def shard_size(text: str) -> int:
    """Bytes, as people write them: 500MB, 4GiB."""
    units = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    number = text.rstrip("KMGiB")
    if not number.isdecimal() or int(number) < 1 or text[len(number) :] not in units:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; write 500MB, 4GiB or a number of bytes"
        )
    return int(number) * units[text[len(number) :]]


def convert(args: argparse.Namespace) -> "Conversion":
    """The conversion that is asked for."""
    from encore.checkpoints import convert as conversions
    from encore.tokens import (
        tokenizer as tokenizer_files,
    )  # torch takes seconds, for which --help need not wait

    if args.act == "to-megatron":
        return conversions.to_megatron(args.source, args.out, args.tp, args.pp)
    tokenizer = tokenizer_files.load(args.tokenizer) if args.tokenizer else None
    if args.act == "reshard":
        return conversions.reshard(
            args.source, args.out, args.tp, args.pp, tokenizer, args.from_optimizer
        )
    return conversions.to_transformers(
        args.source, args.out, tokenizer, args.max_shard_size, args.from_optimizer
    )


def report(found: "LogitDifference") -> dict[str, object]:
    """A comparison, by name."""
    return {
        "greatest_difference": found.greatest,
        "largest_logit": found.largest_logit,
        "relative": found.relative,
        "tokens": found.tokens,
        "vocabulary": found.vocabulary,
        "same": found.same,
    }


def table(shown: dict[str, object]) -> str:
    """For people: three digits of a difference are enough."""
    rows = (
        (name, f"{value:.3g}" if isinstance(value, float) else value)
        for name, value in shown.items()
    )
    return human.table(row for row in rows if row[0] != "tokenizer")


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    if args.act == "inspect":
        from encore.checkpoints import inspect as checkpoint_facts

        known = checkpoint_facts.facts(args.path)
        cli.print_json(known) if args.json else print(human.table(checkpoint_facts.rows(known)))
        return 1 if known["unreadable"] else 0
    shown: dict[str, object] = {}
    if args.act != "verify":
        done = convert(args)
        for note in done.notes:
            cli.say(f"note: {note}")
        shown = {"out": str(done.path), **done.record}
    same = True
    if args.act == "verify" or args.verify:
        from encore.checkpoints import compare

        one, other = (args.one, args.other) if args.act == "verify" else (args.source, done.path)
        found = compare.difference(one, other, getattr(args, "from_optimizer", False))
        shown, same = shown | report(found), found.same
    cli.print_json(shown) if args.json else print(table(shown))
    return 0 if same else 1


if __name__ == "__main__":
    cli.run(main)
