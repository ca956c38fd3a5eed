#!/usr/bin/env python3
r"""Turn text into what Megatron trains on, or cut a corpus down to its unique tokens.

Both read jsonl, jsonl.gz, jsonl.zst and parquet files, folders of such files, and datasets of the
Hugging Face Hub (NAME or NAME:CONFIG). Of a folder, every file is read, in the order of their
paths, but for those whose names begin with . or _, README and the like.

tokenize writes P_text_document.bin and .idx, byte for byte what Megatron-DeepSpeed's
preprocess_data.py writes, and then .json, a manifest, which lists the files. subset writes as jsonl
the first documents, up to the one that reaches the amount, or the last ones (--tail); a smaller
subset is a prefix of a larger one.

examples:
  tools/prepare_corpus.py tokenize c4.jsonl --tokenizer gpt2 --append-eod --output-prefix gpt2tok_c4
  tools/prepare_corpus.py tokenize a.jsonl.zst b.parquet --tokenizer ./gpt2 --tokens 100M \
      --output-prefix data/c4_100m
  tools/prepare_corpus.py subset c4.jsonl --tokens 1.9B --tokens-per-sample 478.625834583 \
      --output c4_1b9.jsonl
  tools/prepare_corpus.py subset oscar_en.jsonl --tail 364608 --output oscarvalidation.jsonl
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from encore import cli, human
from encore.corpus import inputs
from encore.errors import UsageError
from encore.registry import corpora

# Whatever needs the extra `data` is imported in the functions that use it, so that help and errors
# of arguments work without it.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from encore.corpus.batches import Batches
    from encore.tokens.encoders import Encode

_TOKENIZER_HELP = "folder, tokenizer.json, or name on the Hub"


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="tokenize|subset")
    tokenize = commands.add_parser("tokenize", help="text to .bin/.idx", allow_abbrev=False)
    _add_common_options(tokenize)
    _add_amounts(tokenize.add_mutually_exclusive_group())
    tokenize.add_argument(
        "--tokenizer", type=human.name, required=True, metavar="NAME|FOLDER", help=_TOKENIZER_HELP
    )
    tokenize.add_argument(
        "--output-prefix",
        type=human.name,
        required=True,
        metavar="P",
        help="writes P_FIELD_document.*",
    )
    tokenize.add_argument(
        "--exact-tokens",
        action="store_true",
        help="with --tokens: cut the last document, to end with exactly N tokens",
    )
    tokenize.add_argument(
        "--workers",
        type=human.count,
        metavar="N",
        help="encoding threads; more than 4 are of no use; default: all cores but one",
    )
    subset = commands.add_parser(
        "subset", help="the first or last documents, as jsonl", allow_abbrev=False
    )
    _add_common_options(subset)
    amounts = subset.add_mutually_exclusive_group(required=True)
    _add_amounts(amounts)
    amounts.add_argument("--tail", type=human.amount, metavar="N", help="the last N documents")
    subset.add_argument(
        "--tokenizer",
        type=human.name,
        default="gpt2",
        metavar="NAME|FOLDER",
        help=f"what --tokens counts with: {_TOKENIZER_HELP}; default: gpt2",
    )
    subset.add_argument(
        "--tokens-per-sample",
        type=human.number,
        metavar="X",
        help="with --tokens: take tokens / X documents instead of counting tokens",
    )
    subset.add_argument(
        "--output",
        required=True,
        type=human.path,
        metavar="F",
        help="jsonl; compressed if its extension is .gz or .zst",
    )
    return parser


def _add_common_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "inputs",
        type=human.name,
        nargs="+",
        metavar="INPUT",
        help="file, folder, or dataset NAME[:CONFIG]",
    )
    command.add_argument(
        "--field",
        help="key of the text in a document; default: what registry/corpora states for a dataset"
        " that it knows, else text",
    )
    command.add_argument("--split", help="of a dataset of the Hub; default: train")
    command.add_argument(
        "--append-eod",
        action="store_true",
        help="end each document with the end-of-document token, and count it",
    )
    command.add_argument(
        "--on-error",
        choices=["refuse", "skip"],
        default="refuse",
        help="what to do with a bad document; default: refuse",
    )
    command.add_argument(
        "--json", action="store_true", help="print the manifest or summary as JSON"
    )


def _add_amounts(group: "argparse._MutuallyExclusiveGroup") -> None:
    group.add_argument(
        "--tokens", type=human.amount, metavar="N", help="stop with the document that reaches N"
    )
    group.add_argument("--samples", type=human.amount, metavar="N", help="stop after N documents")
    group.add_argument(
        "--bytes",
        type=human.amount,
        metavar="N",
        help="stop with the document that reaches N bytes of text (UTF-8)",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    if args.field is None:
        args.field = default_field(args.inputs)
    for name in args.inputs:
        folder = inputs.describe_folder(name)
        if folder is not None:
            cli.say(folder)
    command = {"tokenize": tokenize, "subset": subset}[args.command]
    summary = command(args)
    for reason, count in summary["skipped"].items():
        cli.warn(f"left out {count:,}: {reason}")
    if args.json:
        cli.print_json(summary)
    return 0


def default_field(names: Iterable[str]) -> str:
    """The key of the text where --field is not given: the registry's for its datasets, else `text`.

    Raises UsageError where the inputs differ in it.
    """
    # each field, and the first input that has it
    fields: dict[str, str] = {}
    for name in names:
        field = "text"
        dataset = inputs.parse_dataset(name)
        if dataset is not None:
            for corpus in corpora.load_corpora().values():
                if corpus.hub == dataset.name:
                    field = corpus.field
        fields.setdefault(field, name)
    if len(fields) > 1:
        differing = " and ".join(f"{field!r} ({name})" for field, name in fields.items())
        raise UsageError(
            f"the inputs keep their text in different fields: {differing}",
            "name one that all have with --field, or prepare them separately",
        )
    return next(iter(fields))


def tokenize(args: argparse.Namespace) -> dict[str, Any]:
    """Write .bin, .idx and the manifest, which is returned."""
    from encore.tokens import tokenize, tokenizer

    request = tokenize.TokenizeRequest(
        args.output_prefix,
        args.field,
        args.append_eod,
        args.tokens,
        args.exact_tokens,
        args.workers,
    )
    manifest = tokenize.write(lambda: read(args), tokenizer.load(args.tokenizer), request)
    cli.say(
        f"{request.target}: {manifest.documents:,} documents, {manifest.tokens:,} tokens,"
        f" {manifest.dtype}"
    )
    return manifest.to_json()


def subset(args: argparse.Namespace) -> dict[str, Any]:
    """Write the subset; returns what it holds."""
    from encore.corpus import subsets

    if args.tokens is not None and args.tokens_per_sample is not None:
        args.samples = subsets.samples(args.tokens, args.tokens_per_sample)
        args.tokens = None

    def write(batches: "Batches") -> dict[str, Any]:
        return subsets.write(args.inputs, args.output, args.field, batches)

    if args.tail is not None:
        summary = write(subsets.tail(lambda: read(args), args.tail))
    elif args.tokens is not None:
        from encore.tokens import encoders, tokenizer

        # called a second time, from the start, if the first encoder turns out to be wrong
        def write_counted(encode: "Encode") -> dict[str, Any]:
            def count_tokens(texts: list[bytes]) -> "npt.NDArray[np.int64]":
                _, lengths = encode(texts)
                return lengths

            return write(subsets.head_of_tokens(read(args), args.tokens, count_tokens))

        counting = tokenizer.load(args.tokenizer)
        summary = encoders.with_fastest_encoder(counting, args.append_eod, write_counted)
    else:
        summary = write(read(args))
    cli.say(f"{args.output}: {summary['documents']:,} documents")
    return summary


def read(args: argparse.Namespace) -> "Batches":
    """The documents of the inputs, while their progress is shown."""
    from encore.corpus import documents

    options = documents.ReadOptions(
        args.field, args.split, args.on_error == "skip", args.samples, args.bytes
    )
    with cli.byte_progress(task="text read") as advance:
        for batch in documents.stream(args.inputs, options):
            yield batch
            advance(sum(map(len, batch.texts)))


if __name__ == "__main__":
    cli.run(main, extra="data")
