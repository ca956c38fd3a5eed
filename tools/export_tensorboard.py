#!/usr/bin/env python3
"""Turn TensorBoard folders into tables, pictures and a page of curves that opens without server or network.

Each folder that holds event files is a run; a folder of such folders stands for all of them. --out says by its ending
what is written, and may name several files:

  .csv .parquet .jsonl   run, tag, step, samples, tokens, wall_time, value: a row per point
  .html                  one file with zoomable curves of every run and tag
  .png .svg .pdf         a panel per tag

Without --out, CSV goes to stdout. Where event files of a run overlap, because it was resumed, the value that was
written later counts. Megatron writes a number up to four times, against steps, samples, tokens and FLOPs: it becomes
one curve with columns for samples and tokens where the files show exactly what they were, else these are empty; --raw
leaves every tag as it is. A damaged or cut-off event file is read up to the damage, with a warning that says where.
--push sends the event files to the run's repository on the Hugging Face Hub.

examples:
  tools/export_tensorboard.py demo/workspace/tensorboard/500k500k100k --out curves.html
  tools/export_tensorboard.py demo/workspace/tensorboard --out curves.csv curves.parquet
  tools/export_tensorboard.py tensorboard_146m14b400m tensorboard_146m14b14b --tags 'lm-loss-*' --out loss.png
  tools/export_tensorboard.py tensorboard/146m14b400m --push --create --private
"""

import argparse
import sys
from pathlib import Path

from encore import cli, files, human
from encore.curves import event_runs
from encore.curves.event_runs import Run, View
from encore.errors import UsageError

_TABLES = (".csv", ".parquet", ".jsonl")
_PICTURES = (".png", ".svg", ".pdf")
_PAGE = ".html"
_MOST_PANELS = 24


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="event files, or folders of such folders",
    )
    parser.add_argument(
        "--out",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="what to write, by its ending",
    )
    parser.add_argument(
        "--tags", nargs="+", metavar="PATTERN", help="only these tags; * and ? as in file names"
    )
    parser.add_argument(
        "--raw", action="store_true", help="every tag as it was written, axes not made columns"
    )
    push = parser.add_argument_group("the Hub, which shows the curves of event files by itself")
    push.add_argument(
        "--push", action="store_true", help="send each run's event files, as tools/hub.py push does"
    )
    push.add_argument("--repo", metavar="OWNER/NAME", help="default: YOU/RUN")
    push.add_argument(
        "--create", action="store_true", help="make the repository if it is not there"
    )
    push.add_argument("--private", action="store_true", help="with --create: only for you to see")
    show = parser.add_argument_group("pictures, and what the page shows first")
    show.add_argument(
        "--x",
        choices=event_runs.AXES,
        default="steps",
        help="axis to draw along (default: %(default)s)",
    )
    show.add_argument(
        "--smoothing",
        type=_weight,
        default=0.0,
        metavar="W",
        help="moving average, 0 (off) to 0.99, of long curves",
    )
    show.add_argument("--log-y", action="store_true", help="logarithmic y axis")
    show.add_argument("--title", help="the page's title (default: the run's name)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    for path in args.out:
        if path.suffix not in (*_TABLES, *_PICTURES, _PAGE):
            raise UsageError(
                f"cannot write {path}",
                f"end the name in one of {' '.join((*_TABLES, _PAGE, *_PICTURES))}",
            )
    folders = event_runs.folders(args.folders)
    _check_push(args, folders)
    found, errors = event_runs.read_all(folders, not args.raw)
    for error in errors:
        cli.warn(f"{error}; left out")
    for run in found:
        for damage in run.damage:
            cli.warn(f"{damage}; what is before it was kept")
    chosen = event_runs.with_tags(found, args.tags) if args.tags else found
    if not args.out and not args.push:
        _write_table(chosen, None)
    for path in args.out:
        if path.suffix in _TABLES:
            _write_table(chosen, path)
        elif path.suffix == _PAGE:
            _write_page(chosen, path, args)
        else:
            _draw(chosen, path, args)
        cli.say(f"wrote {path} ({human.byte_size(path.stat().st_size)})")
    if args.push:
        _push(folders, args)
    return 0


def _weight(text: str) -> float:
    weight = float(text)
    if not 0 <= weight <= 0.99:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 0.99")
    return weight


def _check_push(args: argparse.Namespace, folders: dict[str, Path]) -> None:
    """Refuse options that --push would not honour."""
    if not args.push and (args.repo or args.create or args.private):
        raise UsageError(
            "--repo, --create and --private say where --push sends", "say --push with them"
        )
    if args.repo and len(folders) > 1:
        raise UsageError(
            f"--repo {args.repo} is one repository for {len(folders)} runs", "push them one by one"
        )


def _push(folders: dict[str, Path], args: argparse.Namespace) -> None:
    import hub  # tools/hub.py; loads the Hub's library

    options = [
        name for name, given in (("--create", args.create), ("--private", args.private)) if given
    ]
    options += ["--repo", args.repo] if args.repo else []
    for name, folder in folders.items():
        hub.main(["push", *options, "--patterns", "*tfevents*", "--", name, str(folder)])


def _write_table(found: list[Run], path: Path | None) -> None:
    from encore.curves import export_table  # pyarrow is not needed for pages and pictures

    table = export_table.of_runs(found)
    if path is None:
        export_table.write_csv(table, sys.stdout.buffer)
        return
    with files.atomic(path) as temporary, open(temporary, "wb") as out:
        export_table.WRITERS[path.suffix](table, out)


def _write_page(found: list[Run], path: Path, args: argparse.Namespace) -> None:
    from encore.curves import html_page

    title = args.title or (found[0].name if len(found) == 1 else f"{len(found)} runs")
    files.write_text(path, html_page.page(found, title, View(args.x, args.smoothing, args.log_y)))


def _draw(found: list[Run], path: Path, args: argparse.Namespace) -> None:
    from encore.curves import plot  # matplotlib is slow to load

    shown = sorted({tag for run in found for tag in run.curves})
    if len(shown) > _MOST_PANELS:
        raise UsageError(
            f"{len(shown)} tags do not fit into {path}", "choose some, as in --tags 'lm-loss-*'"
        )
    plot.draw_runs(found, shown, path, View(args.x, args.smoothing, args.log_y))


if __name__ == "__main__":
    cli.run(main)
