#!/usr/bin/env python3
"""Free the disk of checkpoints that are not needed: dry unless --delete is given.

Without a rule it finds torn and orphaned checkpoints and what killed writes left; --keep-last and --keep-every also
let whole ones go that neither keeps. Never goes what training would continue from, the newest whole checkpoint, what
`latest` names, what changed in the last hour, a link, and what is no checkpoint of Megatron-DeepSpeed's.

examples:
  tools/prune_checkpoints.py checkpoints/146m14b400m
  tools/prune_checkpoints.py checkpoints/* --keep-last 2 --keep-every 10000
  tools/prune_checkpoints.py checkpoints/146m14b400m --keep-last 1 --delete
"""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore import cli, human
from encore.errors import UsageError

if TYPE_CHECKING:
    from encore.checkpoints.prune import PruneEntry


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="a run's folder of global_step folders",
    )
    parser.add_argument(
        "--keep-last", type=int, metavar="N", help="of the whole checkpoints keep the N newest"
    )
    parser.add_argument(
        "--keep-every",
        type=human.amount,
        metavar="N",
        help="and those whose step is a multiple of N",
    )
    parser.add_argument(
        "--idle", type=float, default=60, metavar="MIN", help="keep what changed since; default: 60"
    )
    parser.add_argument("--delete", action="store_true", help="really delete")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    if args.idle < 0:
        raise UsageError(f"--idle {args.idle} is less than no time", "give minutes")
    from encore.checkpoints import (
        prune,
    )  # torch takes seconds, for which --help and a wrong argument need not wait

    rule = prune.RetentionRule(args.keep_every, args.keep_last, args.idle * 60)
    found = [entry for folder in args.folders for entry in prune.survey(folder, rule)]
    if args.json:
        cli.print_json([as_json(entry) for entry in found])
    elif found:
        print(human.table(map(row, found), header=("", "checkpoint", "size", "is", "because")))
    doomed = [entry for entry in found if entry.delete]
    if args.delete:
        doomed = []
        for gone in prune.delete(found, rule):
            cli.say(f"deleted {gone.path}")
            doomed.append(gone)
    freed, verb = (
        sum(entry.bytes for entry in doomed),
        "freed" if args.delete else "would be freed by --delete",
    )
    cli.say(
        f"{human.byte_size(freed)} ({freed:,} bytes) {verb}: {len(doomed)} of {len(found)} folders"
    )
    return 0


def row(entry: "PruneEntry") -> tuple[str, str, str, str, str]:
    """An entry's line."""
    action = "delete" if entry.delete else "keep"
    return action, str(entry.path), human.byte_size(entry.bytes), entry.state, entry.reason


def as_json(entry: "PruneEntry") -> dict[str, Any]:
    """An entry for a script."""
    return dataclasses.asdict(entry) | {"path": str(entry.path)}


if __name__ == "__main__":
    cli.run(main)
