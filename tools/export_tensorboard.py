#!/usr/bin/env python3
"""Turn TensorBoard folders into tables, pictures and a page of curves that needs no server.

Each folder with event files is a run; a folder of such folders stands for all of them. --out may
name several files, and the extension of each says what is written:

  .csv .parquet .jsonl   a row per point: run, tag, step, samples, tokens, wall_time, value
  .html                  one file with zoomable curves of every run and tag
  .png .svg .pdf         a panel per tag; with --losses, one panel of all losses

Without --out, CSV goes to stdout. Where event files of a run overlap because it was resumed, the
value that was written later counts. Megatron writes a number up to four times, against steps,
samples, tokens and FLOPs: it becomes one curve with columns for samples and tokens, which are empty
where the files do not show them exactly; --raw leaves every tag as it is. A damaged or incomplete
event file is read up to the damage, with a warning that says where. A run that cannot be read is
left out with a warning; the others are written, and the exit code is 1. --push sends the event
files to the run's repository on the Hugging Face Hub.

examples:
  tools/export_tensorboard.py demo/workspace/tensorboard/500k500k100k --out curves.html
  tools/export_tensorboard.py demo/workspace/tensorboard --out curves.csv curves.parquet
  tools/export_tensorboard.py demo/workspace/tensorboard --losses --x tokens --unique-tokens 100k \\
    --smoothing 0.9 --out loss.png
  tools/export_tensorboard.py tensorboard/146m14b400m tensorboard/146m14b14b --tags '*-norm' \\
    --out norms.svg
  tools/export_tensorboard.py tensorboard/146m14b400m --push --create --private
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from encore import cli, files, human
from encore.curves.view import AXES, View
from encore.errors import UsageError
from encore.hub import client, upload
from encore.plan import user_config
from encore.plan.records import Request

# What reads and draws needs the extra `analysis`: it is imported where it is used, so that help and
# argument errors work without.
if TYPE_CHECKING:
    import pyarrow as pa
    from encore.curves.event_runs import EventRun

_TABLES = (".csv", ".parquet", ".jsonl")
_PICTURES = (".png", ".svg", ".pdf")
_PAGE = ".html"
# eight rows of three: a picture of more is not readable
_MAX_PANELS = 24


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "folders",
        type=human.path,
        nargs="+",
        metavar="FOLDER",
        help="folder of event files, or of such folders",
    )
    parser.add_argument(
        "--out",
        type=human.path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="file to write; its extension says what",
    )
    selection = parser.add_mutually_exclusive_group()
    selection.add_argument(
        "--tags",
        nargs="+",
        metavar="PATTERN",
        help="only tags that match; * and ? as in file names",
    )
    selection.add_argument(
        "--losses",
        action="store_true",
        help="only training and validation losses; a picture has them in one panel",
    )
    parser.add_argument(
        "--raw", action="store_true", help="every tag as written, without columns for other axes"
    )
    _add_drawing_options(parser.add_argument_group("pictures, and what a page shows first"))
    push = parser.add_argument_group("the Hugging Face Hub, which draws event files by itself")
    push.add_argument(
        "--push", action="store_true", help="send each run's event files, as tools/hub.py push does"
    )
    push.add_argument("--repo", metavar="OWNER/NAME", help="default: YOU/RUN")
    push.add_argument(
        "--create", action="store_true", help="create the repository if it does not exist"
    )
    push.add_argument("--private", action="store_true", help="with --create: a private repository")
    return parser


def _add_drawing_options(drawing: argparse._ArgumentGroup) -> None:
    drawing.add_argument(
        "--x", choices=AXES, default="steps", help="axis to draw along (default: %(default)s)"
    )
    drawing.add_argument(
        "--unique-tokens",
        type=human.count,
        metavar="N",
        help="along tokens, draw a line at each epoch of this many, such as 400M",
    )
    drawing.add_argument(
        "--smoothing",
        type=_weight,
        default=0.0,
        metavar="W",
        help="weight of the moving average of long curves, 0 (off) to 0.99",
    )
    drawing.add_argument("--log-y", action="store_true", help="logarithmic y axis")
    drawing.add_argument(
        "--title",
        help="default: the run's name; a picture with a panel per tag has none by default",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    _check_outputs(args)
    _check_push_options(args)

    from encore.curves import event_runs

    folders = event_runs.folders(args.folders)
    if args.repo and len(folders) > 1:
        raise UsageError(
            f"--repo {args.repo} is one repository for {len(folders)} runs", "push them one by one"
        )
    runs, errors = event_runs.read_all(folders, not args.raw)
    for error in errors:
        cli.warn(f"{error}; skipped")
    for run in runs:
        for damage in run.damage:
            cli.warn(f"{damage}; everything before it was read")
        if run.replaced:
            cli.warn(
                f"{run.name}: {run.replaced:,} values are left out, as others of the same tag and"
                " step were written later"
            )
    if args.tags:
        runs = event_runs.with_tags(runs, args.tags)
    elif args.losses:
        runs = event_runs.with_losses(runs)
    if any(path.suffix in (*_PICTURES, _PAGE) for path in args.out):
        event_runs.check_known_along(runs, args.x)

    if not args.out and not args.push:
        _write_table(runs, None)
    for path in args.out:
        if path.suffix in _TABLES:
            _write_table(runs, path)
        elif path.suffix == _PAGE:
            _write_page(runs, path, args)
        else:
            _draw_picture(runs, path, args)
        cli.say(f"wrote {path} ({human.byte_size(path.stat().st_size)})")
    if args.push:
        _push(folders, args)
    return 1 if errors else 0


def _weight(text: str) -> float:
    weight = float(text)
    if not 0 <= weight <= 0.99:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 0.99")
    return weight


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse files of unknown extensions, and --unique-tokens where it would draw nothing."""
    for path in args.out:
        if path.suffix not in (*_TABLES, *_PICTURES, _PAGE):
            raise UsageError(
                f"cannot write {path}",
                f"its extension must be one of {' '.join((*_TABLES, _PAGE, *_PICTURES))}",
            )
    if args.unique_tokens is None:
        return
    pictures = [path for path in args.out if path.suffix in _PICTURES]
    if pictures and args.x != "tokens":
        raise UsageError(
            f"--unique-tokens needs the x axis tokens, and {pictures[0]} is drawn along {args.x}",
            "add --x tokens",
        )
    if not pictures and not any(path.suffix == _PAGE for path in args.out):
        raise UsageError(
            "--unique-tokens is for pictures and pages", "add --x tokens --out loss.png"
        )


def _check_push_options(args: argparse.Namespace) -> None:
    if not args.push and (args.repo or args.create or args.private):
        raise UsageError("--repo, --create and --private say where --push sends", "add --push")


def _push(folders: dict[str, Path], args: argparse.Namespace) -> None:
    config = user_config.load()
    cluster = user_config.default_cluster(config)
    push_options = upload.PushOptions(args.repo, ("*tfevents*",), args.create, args.private)
    for name, folder in folders.items():
        result = upload.push_run(Request(name, cluster), folder, push_options, config)
        url = client.page_url(result.repository)
        cli.say(f"{url}: sent {result.files} files, {result.bytes:,} bytes")


def _write_table(runs: "list[EventRun]", path: Path | None) -> None:
    from encore.curves import export_table

    table = export_table.of_runs(runs)
    if path is None:
        _print_csv(table)
        return
    with files.atomic(path) as temporary, open(temporary, "wb") as out:
        export_table.WRITERS[path.suffix](table, out)


def _print_csv(table: "pa.Table") -> None:
    from encore.curves import export_table

    if not sys.stdout.isatty():
        export_table.write_csv(table, sys.stdout.buffer)
        return
    # names in it may hold what a terminal takes for commands; print shows that
    shown = io.BytesIO()
    export_table.write_csv(table, shown)
    print(shown.getvalue().decode("utf-8", "surrogateescape"), end="")


def _write_page(runs: "list[EventRun]", path: Path, args: argparse.Namespace) -> None:
    from encore.curves import html_page

    files.write_text(path, html_page.page(runs, _title(runs, args), _view(args)))


def _draw_picture(runs: "list[EventRun]", path: Path, args: argparse.Namespace) -> None:
    from encore.curves import event_runs, plot

    if args.losses:
        plot.draw_losses(runs, _title(runs, args), path, _view(args))
        return
    tags = event_runs.tags_of(runs)
    if len(tags) > _MAX_PANELS:
        raise UsageError(
            f"{len(tags)} tags do not fit into {path}, which holds {_MAX_PANELS} panels",
            "select some, as in --tags 'lm-loss-*'",
        )
    plot.draw_panels(runs, path, _view(args), args.title)


def _title(runs: "list[EventRun]", args: argparse.Namespace) -> str:
    if args.title:
        return str(args.title)
    if len(runs) == 1:
        return runs[0].name
    return f"{len(runs)} runs"


def _view(args: argparse.Namespace) -> View:
    return View(args.x, args.smoothing, args.log_y, args.unique_tokens)


if __name__ == "__main__":
    cli.run(main, extra="analysis")
