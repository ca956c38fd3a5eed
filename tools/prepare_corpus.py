#!/usr/bin/env python3
"""Turn text into what Megatron trains on, or cut a corpus down to its unique tokens.

tokenize reads jsonl, jsonl.gz, jsonl.zst, parquet or Hugging Face datasets (NAME or NAME:CONFIG) and writes, byte for
byte as Megatron-DeepSpeed's preprocess_data.py, P_text_document.bin and .idx, and last .json, a manifest. subset writes
as jsonl the first documents, up to the one that reaches the amount, or the last (--tail); less is a prefix of more.

examples:
  tools/prepare_corpus.py tokenize c4.jsonl --tokenizer gpt2 --append-eod --output-prefix data/gpt2tok_c4
  tools/prepare_corpus.py tokenize a.jsonl.zst b.parquet --tokenizer ./gpt2 --tokens 100M --output-prefix data/c4_100m
  tools/prepare_corpus.py subset c4.jsonl --tokens 1.9B --tokens-per-sample 478.625834583 --output c4_1b9.jsonl
  tools/prepare_corpus.py subset oscar_en.jsonl --tail 364608 --output oscarvalidation.jsonl
"""

import argparse
import functools
from pathlib import Path
from typing import Any

from encore import cli, human
from encore.corpus import documents, subsets
from encore.corpus.batches import Batches
from encore.tokens import encoders
from encore.tokens import tokenize as tokenizing
from encore.tokens import tokenizer as tokenizer_files
from tqdm import tqdm


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="tokenize|subset")
    tokenize = commands.add_parser("tokenize", help="text to .bin/.idx", allow_abbrev=False)
    subset = commands.add_parser(
        "subset", help="the first or last documents, as jsonl", allow_abbrev=False
    )
    for command in (tokenize, subset):
        command.add_argument(
            "inputs", nargs="+", metavar="INPUT", help="file, folder, or dataset NAME[:CONFIG]"
        )
        command.add_argument(
            "--field", default="text", help="where a document's text is; default: text"
        )
        command.add_argument("--split", default="train", help="of a dataset; default: train")
        command.add_argument(
            "--append-eod",
            action="store_true",
            help="end each document with its token, and count it",
        )
        command.add_argument(
            "--on-error", choices=["refuse", "skip"], default="refuse", help="on a bad document"
        )
        command.add_argument(
            "--json", action="store_true", help="print the manifest or summary as JSON"
        )
        amount = command.add_mutually_exclusive_group(required=command is subset)
        amount.add_argument(
            "--tokens", type=human.amount, metavar="N", help="stop with the document that reaches N"
        )
        amount.add_argument("--samples", type=human.amount, metavar="N", help="so many documents")
        amount.add_argument(
            "--bytes", type=human.amount, metavar="N", help="likewise, by bytes of text (UTF-8)"
        )
    amount.add_argument("--tail", type=human.amount, metavar="N", help="the last N documents")
    source = "folder, tokenizer.json, or name on the hub"
    tokenize.add_argument("--tokenizer", required=True, metavar="NAME|FOLDER", help=source)
    tokenize.add_argument(
        "--output-prefix", required=True, metavar="P", help="writes P_FIELD_document.*"
    )
    tokenize.add_argument(
        "--exact-tokens", action="store_true", help="with --tokens: stop at the very token"
    )
    tokenize.add_argument(
        "--workers", type=human.amount, metavar="N", help="encoding threads; default: by the cores"
    )
    subset.add_argument(
        "--tokenizer", default="gpt2", metavar="NAME|FOLDER", help=f"to count with: {source}"
    )
    subset.add_argument(
        "--tokens-per-sample",
        type=float,
        metavar="X",
        help="do not count, take tokens / X documents",
    )
    subset.add_argument(
        "--output", required=True, type=Path, metavar="F", help="jsonl, .gz or .zst by its name"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    done = {"tokenize": tokenize, "subset": subset}[args.command](args)
    for reason, count in done["skipped"].items():
        cli.warn(f"left out {count:,}: {reason}")
    if args.json:
        cli.print_json(done)
    return 0


def tokenize(args: argparse.Namespace) -> dict[str, Any]:
    """Write .bin, .idx and the manifest, which is returned."""
    request = tokenizing.TokenizeRequest(
        args.output_prefix,
        args.field,
        args.append_eod,
        args.tokens,
        args.exact_tokens,
        args.workers,
    )
    manifest = tokenizing.write(
        lambda: stream(args), tokenizer_files.load(args.tokenizer), request, cli.warn
    )
    cli.say(
        f"{request.target}: {manifest.documents:,} documents, {manifest.tokens:,} tokens,"
        f" {manifest.dtype}"
    )
    return manifest.to_json()


def subset(args: argparse.Namespace) -> dict[str, Any]:
    """Write the subset; returns what it holds."""
    if args.tokens is not None and args.tokens_per_sample is not None:
        args.samples, args.tokens = subsets.samples(args.tokens, args.tokens_per_sample), None
    write = functools.partial(subsets.write, args.inputs, args.output, args.field)
    if args.tail is not None:
        done = write(subsets.tail(lambda: stream(args), args.tail))
    elif args.tokens is not None:
        tokenizer = tokenizer_files.load(args.tokenizer)
        count = functools.partial(subsets.head_of_tokens, lambda: stream(args), args.tokens)
        done = encoders.encoding(
            tokenizer, args.append_eod, cli.warn, lambda encode: write(count(encode))
        )
    else:
        done = write(stream(args))
    cli.say(f"{args.output}: {done['documents']:,} documents")
    return done


def stream(args: argparse.Namespace) -> Batches:
    """The documents asked for, behind a progress bar."""
    reading = documents.ReadOptions(
        args.field, args.split, args.on_error == "skip", args.samples, args.bytes
    )
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        for batch in documents.stream(args.inputs, reading):
            yield batch
            bar.update(sum(map(len, batch.texts)))


if __name__ == "__main__":
    cli.run(main)
