#!/usr/bin/env python3
"""Split, join, verify, merge and inspect Megatron's .bin/.idx pairs.

split cuts P.bin into P.bin.aa, P.bin.ab and so on, never within a token, and writes P.parts.json,
their sizes and hashes, last. cat joins such parts to P.bin, also those of GNU split, once it has
checked that none is missing. Both check the bytes while they copy them; after a kill, run the same
command again. verify checks whatever exists: index, tokens, manifests, vocabulary. merge puts pairs
of one dtype end to end, at any size.

examples:
  tools/bins.py info data/gpt2tok_c4_text_document
  tools/bins.py peek data/gpt2tok_c4_text_document 0 --tokenizer tokenizers/gpt2
  tools/bins.py cat data/gpt2tok_c4_en_1B9 --remove-parts
  tools/bins.py split data/gpt2tok_c4_en_1B9 --size 4GiB
  tools/bins.py verify data/gpt2tok_c4_en_1B9 --vocabulary 50257
  tools/bins.py merge data/c4 data/oscar --output-prefix data/both
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from encore import cli, findings, human


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="split|cat|verify|merge|info|peek"
    )
    split = commands.add_parser("split", help="cut a .bin into parts", allow_abbrev=False)
    cat = commands.add_parser("cat", help="join the parts of a .bin", allow_abbrev=False)
    verify = commands.add_parser("verify", help="check a pair, or its parts", allow_abbrev=False)
    merge = commands.add_parser("merge", help="put pairs end to end", allow_abbrev=False)
    info = commands.add_parser("info", help="describe a pair", allow_abbrev=False)
    peek = commands.add_parser("peek", help="print one document", allow_abbrev=False)
    for command in (split, cat, verify, info, peek):
        command.add_argument(
            "prefix",
            type=prefix,
            metavar="PREFIX",
            help="the path of the pair without .bin or .idx",
        )
    merge.add_argument(
        "prefixes", type=prefix, nargs="+", metavar="PREFIX", help="pairs, in the order to merge"
    )
    merge.add_argument(
        "--output-prefix", type=prefix, required=True, metavar="P", help="write P.bin and P.idx"
    )
    amount = split.add_mutually_exclusive_group(required=True)
    amount.add_argument(
        "--parts", type=human.amount, metavar="N", help="N parts of nearly equal size"
    )
    amount.add_argument(
        "--size", type=human.size, metavar="S", help="parts of at most S bytes, such as 4GiB"
    )
    cat.add_argument(
        "--remove-parts",
        action="store_true",
        help="delete each part once it is copied, to save disk space",
    )
    vocabulary = verify.add_mutually_exclusive_group()
    vocabulary.add_argument(
        "--vocabulary", type=human.count, metavar="N", help="check that all ids are below N"
    )
    for container in (vocabulary, peek):
        container.add_argument(
            "--tokenizer",
            type=human.name,
            metavar="NAME|FOLDER",
            help="a folder, a tokenizer.json, or a name on the Hugging Face Hub",
        )
    peek.add_argument(
        "number", type=human.integer, metavar="N", help="the document, counted from 0"
    )
    for command in (split, cat, verify, merge, info, peek):
        command.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def prefix(text: str) -> Path:
    """A prefix, also from the name of one of its files."""
    return human.path(text.removesuffix(".bin").removesuffix(".idx"))


def main(argv: list[str] | None = None) -> int:
    """Run the command; verify's exit code is 1 when something is wrong."""
    args = build_parser().parse_args(argv)
    return COMMANDS[args.command](args)


def split(args: argparse.Namespace) -> int:
    """Cut a .bin into parts."""
    from encore.tokens import part_manifest, split_join
    from encore.tokens.indexed import bin_path

    with cli.byte_progress(task="splitting") as advance:
        parts = split_join.split(args.prefix, args.parts, args.size, advance)
    manifest = part_manifest.manifest_path(args.prefix)
    cli.say(f"{bin_path(args.prefix)}: {len(parts)} parts, listed in {manifest}")
    if args.json:
        cli.print_json([dataclasses.asdict(part) for part in parts])
    return 0


def cat(args: argparse.Namespace) -> int:
    """Join the parts of a .bin."""
    from encore.tokens import split_join

    with cli.byte_progress(task="joining") as advance:
        result = split_join.join(args.prefix, args.remove_parts, advance)
    if result.parts:
        cli.say(f"{result.path}: {result.bytes:,} bytes of {result.parts} parts")
    else:
        cli.say(f"{result.path}: {result.bytes:,} bytes, already joined")
    if result.checked == "index":
        cli.say("its size is what the .idx says; its parts have no hashes to compare with")
    elif result.checked == "nothing":
        cli.warn("it may be incomplete: without an .idx or a .parts.json, nothing states its size")
    if args.json:
        cli.print_json(dataclasses.asdict(result) | {"path": str(result.path)})
    return 0


def verify(args: argparse.Namespace) -> int:
    """Check a pair, or its parts."""
    from encore.tokens import tokenizer
    from encore.tokens import verify as checks

    vocabulary = args.vocabulary
    if args.tokenizer:
        vocabulary = tokenizer.load(args.tokenizer).vocabulary_size
    with cli.byte_progress(task="verifying") as advance:
        results = checks.verify(args.prefix, vocabulary, advance)
    if args.json:
        cli.print_json([dataclasses.asdict(finding) for finding in results])
    else:
        print(findings.table(results))
    return 1 if findings.wrong(results) else 0


def merge(args: argparse.Namespace) -> int:
    """Put pairs end to end."""
    from encore.tokens import describe
    from encore.tokens import merge as merging

    with cli.byte_progress(task="merging") as advance:
        merging.merge(args.prefixes, args.output_prefix, advance)
    return show(describe.describe(args.output_prefix), args.json)


def info(args: argparse.Namespace) -> int:
    """Describe a pair."""
    from encore.tokens import describe

    return show(describe.describe(args.prefix), args.json)


def show(description: dict[str, Any], as_json: bool) -> int:
    """Print a pair's description, for people or as JSON."""
    if as_json:
        cli.print_json(description)
        return 0
    rows = []
    for key in ("documents", "sequences", "tokens", "empty_documents"):
        rows.append((key.replace("_", " "), f"{description[key]:,}"))
    sizes = []
    for name, size in description["bytes"].items():
        sizes.append(f"{name} {human.byte_size(size)}")
    lengths = []
    for key, value in description["document_tokens"].items():
        # a pair without documents has no lengths
        lengths.append(f"{key} -" if value is None else f"{key} {value:,.6g}")
    rows.append(("dtype", description["dtype"]))
    rows.append(("files", ", ".join(sizes)))
    rows.append(("tokens a document", ", ".join(lengths)))
    print(human.table(rows))
    return 0


def peek(args: argparse.Namespace) -> int:
    """Print one document: its text, or its ids where no tokenizer is named."""
    from encore.tokens import describe, tokenizer

    ids = describe.document(args.prefix, args.number)
    record = {"document": args.number, "ids": ids.tolist()}
    output = " ".join(map(str, record["ids"]))
    if args.tokenizer:
        output = describe.text(ids, tokenizer.load(args.tokenizer))
        record["text"] = output
    if args.json:
        cli.print_json(record)
    else:
        print(output)
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
    cli.run(main, extra="data")
