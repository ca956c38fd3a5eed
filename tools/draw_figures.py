#!/usr/bin/env python3
"""Draw the paper's figures and tables from its published numbers, or two of them from your runs.

list shows all by name and number, with what each needs and what cannot be had. Figures become PDF,
SVG or PNG, tables CSV. Captions say what the numbers say; where the paper's picture and its data
differ, they say that too. Without names, draw takes --all. The law is drawn as published: where it
misses the runs, the picture shows it.

examples:
  tools/draw_figures.py list
  tools/draw_figures.py draw return isoloss-100m --out figures
  tools/draw_figures.py draw 9 --out figures --format png
  tools/draw_figures.py draw --all --out figures --format pdf svg
  tools/draw_figures.py own isoloss return --runs registry/runs.csv --out figures
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import csv
import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING

from encore import cli, files, human
from encore.errors import UnknownNameError, UsageError
from encore.registry.paper_data import PaperItem, load_paper_index

# What draws needs matplotlib: it is imported where it is used, so that help and list work without.
if TYPE_CHECKING:
    from encore.scaling.paper_tables import Table

_FORMATS = ("svg", "pdf", "png")
_OWN = ("isoloss", "return")


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|draw|own")
    listing = commands.add_parser("list", help="what there is", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="print the result as JSON")
    draw = commands.add_parser("draw", help="the paper's figures and tables", allow_abbrev=False)
    draw.add_argument("names", nargs="*", metavar="NAME", help="a name, or a figure's number")
    draw.add_argument("--all", action="store_true", help="every figure and table")
    own = commands.add_parser("own", help="figures of your own runs", allow_abbrev=False)
    own.add_argument("names", nargs="+", metavar="NAME", help=" or ".join(_OWN))
    own.add_argument(
        "--runs",
        type=Path,
        required=True,
        metavar="CSV",
        help="with the columns params, tokens, unique_tokens, loss",
    )
    for command in (draw, own):
        command.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        command.add_argument(
            "--format", nargs="+", choices=_FORMATS, default=["pdf"], help="default: pdf"
        )
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command."""
    args = build_parser().parse_args(argv)
    if args.command == "list":
        return show_list(args)
    if args.command == "draw":
        return draw(args)
    return draw_own(args)


def show_list(args: argparse.Namespace) -> int:
    """list."""
    index = load_paper_index()
    rows = []
    records = []
    for kind, items in (("figure", index.figures), ("table", index.tables)):
        for item in items.values():
            rows.append((f"{kind} {item.number}", item.name, item.title, item.open))
            records.append(
                {
                    "kind": kind,
                    "number": item.number,
                    "name": item.name,
                    "title": item.title,
                    "data": list(item.data),
                    "caption": item.caption,
                    "open": item.open,
                }
            )
    if args.json:
        cli.print_json(records)
    else:
        print(human.table(rows, ("", "name", "title", "not to be had")))
    return 0


def _chosen(names: list[str], every: bool) -> list[str]:
    index = load_paper_index()
    valid = [*index.figures, *index.tables]
    if every == bool(names):
        raise UsageError("name figures, or take --all")
    if every:
        return valid
    by_number = {item.number: item.name for item in index.figures.values()}
    chosen = []
    for name in names:
        name = by_number.get(name, name)
        if name not in valid:
            raise UnknownNameError("figure or table", name, valid)
        chosen.append(name)
    return list(dict.fromkeys(chosen))


def draw(args: argparse.Namespace) -> int:
    """draw."""
    from encore.scaling import paper_figures, paper_tables

    index = load_paper_index()
    for name in _chosen(args.names, args.all):
        if name in index.figures:
            targets = [args.out / f"{name}.{extension}" for extension in args.format]
            paper_figures.draw(paper_figures.FIGURES[name], targets)
            _tell(index.figures[name], "figure", targets)
        else:
            target = args.out / f"{name}.csv"
            files.write_text(target, _csv(paper_tables.TABLES[name]()))
            _tell(index.tables[name], "table", [target])
    return 0


def _csv(table: "Table") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.header)
    writer.writerows(table.rows)
    return text.getvalue()


def _tell(item: PaperItem, kind: str, targets: list[Path]) -> None:
    written = ", ".join(map(str, targets))
    cli.say(f"{written}: {kind} {item.number}, {item.title}. {item.caption}")
    if item.open:
        cli.say(f"  not to be had: {item.open}")


def draw_own(args: argparse.Namespace) -> int:
    """own."""
    from encore.scaling import paper_figures, runs

    for name in args.names:
        if name not in _OWN:
            raise UnknownNameError("figure of one's own runs", name, _OWN)
    every = runs.load(args.runs)
    for name in args.names:
        targets = [args.out / f"own-{name}.{extension}" for extension in args.format]
        paper_figures.draw(functools.partial(paper_figures.OWN_FIGURES[name], every), targets)
        cli.say(f"{', '.join(map(str, targets))}: {runs.described(every)}")
    return 0


if __name__ == "__main__":
    cli.run(main, extra="analysis")
