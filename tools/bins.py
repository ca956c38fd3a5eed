#!/usr/bin/env python3
"""Split, join, verify, merge and look into Megatron's .bin/.idx pairs.

split cuts P.bin into P.bin.aa, P.bin.ab and so on, never within a token, and writes last P.parts.json, their sizes and
hashes. cat makes P.bin of such parts, and of those that GNU split made, after a look whether all are there. Both check
what they copy while they copy it; run again after a kill they end with the same bytes. verify compares all that is
there: index, tokens, manifests, vocabulary. merge puts pairs of one dtype end to end, of any size.

examples:
  tools/bins.py info data/gpt2tok_c4_text_document
  tools/bins.py peek data/gpt2tok_c4_text_document 0 --tokenizer tokenizers/gpt2
  tools/bins.py cat data/gpt2tok_c4_en_1B9 --remove-parts
  tools/bins.py split data/gpt2tok_c4_en_1B9 --size 4GiB
  tools/bins.py verify data/gpt2tok_c4_en_1B9 --vocabulary 50257
  tools/bins.py merge data/c4 data/oscar --output-prefix data/both
"""

import argparse
import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encore import cli, human
from encore.tokens import describe, part_manifest, split_join, tokenizer
from encore.tokens import merge as merging
from encore.tokens import verify as pair_checks
from encore.tokens.hashed_copy import Progress
from encore.tokens.indexed import bin_path
from tqdm import tqdm


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="split|cat|verify|merge|info|peek"
    )
    split = commands.add_parser("split", help="cut a .bin into parts", allow_abbrev=False)
    cat = commands.add_parser("cat", help="join the parts of a .bin", allow_abbrev=False)
    verify = commands.add_parser(
        "verify", help="find what is wrong in a pair, or in its parts", allow_abbrev=False
    )
    merge = commands.add_parser("merge", help="put pairs end to end", allow_abbrev=False)
    info = commands.add_parser("info", help="what a pair holds", allow_abbrev=False)
    peek = commands.add_parser("peek", help="one document", allow_abbrev=False)
    for command in (split, cat, verify, info, peek):
        command.add_argument(
            "prefix", type=prefix, metavar="PREFIX", help="what the .bin and the .idx share"
        )
    merge.add_argument(
        "prefixes", type=prefix, nargs="+", metavar="PREFIX", help="in the order of the result"
    )
    merge.add_argument(
        "--output-prefix", type=prefix, required=True, metavar="P", help="writes P.bin and P.idx"
    )
    amount = split.add_mutually_exclusive_group(required=True)
    amount.add_argument(
        "--parts", type=human.amount, metavar="N", help="so many, of nearly one size"
    )
    amount.add_argument(
        "--size", type=human.size, metavar="S", help="of at most so many bytes, for example 4GiB"
    )
    cat.add_argument(
        "--remove-parts",
        action="store_true",
        help="each as soon as it is copied, when disk is short",
    )
    vocabulary = verify.add_mutually_exclusive_group()
    vocabulary.add_argument(
        "--vocabulary", type=human.amount, metavar="N", help="ids are to be below N"
    )
    for command in (vocabulary, peek):
        command.add_argument(
            "--tokenizer", metavar="NAME|FOLDER", help="folder, tokenizer.json, or name on the hub"
        )
    peek.add_argument("number", type=int, metavar="N", help="the document, counted from 0")
    for command in (split, cat, verify, merge, info, peek):
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def prefix(text: str) -> Path:
    """A prefix, also from the name of one of its files."""
    return Path(text.removesuffix(".bin").removesuffix(".idx"))


def main(argv: list[str] | None = None) -> int:
    """Run the command; verify's exit code is 1 when something is wrong."""
    args = build_parser().parse_args(argv)
    return COMMANDS[args.command](args)


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """A bar of bytes, on a terminal."""
    lock = threading.Lock()
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:

        def update(count: int) -> None:
            with lock:
                bar.update(count)

        yield update


def split(args: argparse.Namespace) -> int:
    """Cut a .bin."""
    with progress() as update:
        done = split_join.split(args.prefix, args.parts, args.size, update)
    cli.say(
        f"{bin_path(args.prefix)}: {len(done)} parts, listed in {part_manifest.manifest_path(args.prefix)}"
    )
    if args.json:
        cli.print_json([dataclasses.asdict(part) for part in done])
    return 0


def cat(args: argparse.Namespace) -> int:
    """Join parts."""
    with progress() as update:
        done = split_join.join(args.prefix, args.remove_parts, update)
    cli.say(
        f"{done.path}: {done.bytes:,} bytes"
        + (f" of {done.parts} parts" if done.parts else ", there already")
    )
    if done.checked == "index":
        cli.say("its size is what the .idx says; no hashes of the parts are known")
    elif done.checked == "nothing":
        cli.warn(
            "whether it is complete could not be checked: there is neither an .idx nor a .parts.json"
        )
    if args.json:
        cli.print_json(dataclasses.asdict(done) | {"path": str(done.path)})
    return 0


def verify(args: argparse.Namespace) -> int:
    """Check all that is there."""
    vocabulary = (
        tokenizer.load(args.tokenizer).vocabulary_size if args.tokenizer else args.vocabulary
    )
    with progress() as update:
        verdicts = pair_checks.verify(args.prefix, vocabulary, update)
    if args.json:
        cli.print_json([dataclasses.asdict(verdict) for verdict in verdicts])
    else:
        print(
            human.table(
                ("✓" if verdict.right else "✗", verdict.what, verdict.found) for verdict in verdicts
            )
        )
    return 0 if all(verdict.right for verdict in verdicts) else 1


def merge(args: argparse.Namespace) -> int:
    """Put pairs end to end."""
    with progress() as update:
        merging.merge(args.prefixes, args.output_prefix, update)
    return show(describe.describe(args.output_prefix), args.json)


def info(args: argparse.Namespace) -> int:
    """What a pair holds."""
    return show(describe.describe(args.prefix), args.json)


def show(described: dict[str, Any], as_json: bool) -> int:
    """A pair's description, for people or for a script."""
    if as_json:
        cli.print_json(described)
        return 0
    lengths = {
        key: "-" if value is None else f"{value:,.6g}"
        for key, value in described["document_tokens"].items()
    }
    sizes = ", ".join(
        f"{name} {human.byte_size(size)}" for name, size in described["bytes"].items()
    )
    rows = [
        (key, f"{described[key]:,}")
        for key in ("documents", "sequences", "tokens", "empty_documents")
    ]
    rows += [("dtype", described["dtype"]), ("files", sizes)]
    rows += [("tokens a document", ", ".join(f"{key} {value}" for key, value in lengths.items()))]
    print(human.table((key.replace("_", " "), value) for key, value in rows))
    return 0


def peek(args: argparse.Namespace) -> int:
    """One document: its text, or its ids where no tokenizer is given."""
    ids = describe.document(args.prefix, args.number)
    text = describe.text(ids, tokenizer.load(args.tokenizer)) if args.tokenizer else None
    if args.json:
        cli.print_json(
            {"document": args.number, "ids": ids.tolist()}
            | ({} if text is None else {"text": text})
        )
    else:
        print(" ".join(map(str, ids.tolist())) if text is None else text)
    return 0


COMMANDS = {
    "split": split,
    "cat": cat,
    "verify": verify,
    "merge": merge,
    "info": info,
    "peek": peek,
}

if __name__ == "__main__":
    cli.run(main)
