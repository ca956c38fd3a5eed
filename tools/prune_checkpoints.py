#!/usr/bin/env python3
"""Free the disk space of checkpoints that are not needed; prints them unless --delete is given.

Without a rule it finds torn and orphaned checkpoints and what killed writes left behind. With
--keep-last or --keep-every it also finds whole checkpoints that neither of them keeps. It never
deletes the checkpoint that training would resume from, the newest whole one, the one that `latest`
names, what changed in the last hour, a link, anything that Megatron-DeepSpeed did not write, or a
checkpoint whose files its arguments do not explain: it may be another trainer's, and whole.
With a rule it reads all of the newest checkpoint, and deletes nothing in favour of a damaged one.

examples:
  tools/prune_checkpoints.py checkpoints/146m14b400m
  tools/prune_checkpoints.py checkpoints/* --keep-last 2 --keep-every 10000
  tools/prune_checkpoints.py checkpoints/146m14b400m --keep-last 1 --delete
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import dataclasses
from typing import Any

from encore import cli, human
from encore.checkpoints.prune import PruneEntry, RetentionRule, delete, survey


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "folders",
        type=human.path,
        nargs="+",
        metavar="FOLDER",
        help="a run's folder of global_step folders",
    )
    parser.add_argument(
        "--keep-last", type=human.integer, metavar="N", help="keep the N newest whole checkpoints"
    )
    parser.add_argument(
        "--keep-every",
        type=human.amount,
        metavar="N",
        help="keep whole checkpoints whose step is a multiple of N",
    )
    parser.add_argument(
        "--idle",
        type=human.number,
        default=60,
        metavar="MIN",
        help="keep what changed in the last MIN minutes; default: 60",
    )
    parser.add_argument("--delete", action="store_true", help="delete, do not just print")
    parser.add_argument("--json", action="store_true", help="print the folders as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    rule = RetentionRule(args.keep_every, args.keep_last, args.idle * 60)
    entries = [entry for folder in args.folders for entry in survey(folder, rule)]
    if args.json:
        cli.print_json([as_json(entry) for entry in entries])
    elif entries:
        header = ("", "checkpoint", "size", "is", "because")
        print(human.table(map(row, entries), header))
    deletable = [entry for entry in entries if entry.delete]
    outcome = "would be freed by --delete"
    if args.delete:
        deletable = []
        for entry in delete(entries, rule):
            cli.say(f"deleted {entry.path}")
            deletable.append(entry)
        outcome = "freed"
    size = sum(entry.bytes for entry in deletable)
    cli.say(
        f"{human.byte_size(size)} ({size:,} bytes) {outcome}:"
        f" {len(deletable)} of {len(entries)} folders"
    )
    return 0


def row(entry: PruneEntry) -> tuple[str, str, str, str, str]:
    """An entry's line."""
    action = "delete" if entry.delete else "keep"
    return action, str(entry.path), human.byte_size(entry.bytes), entry.state, entry.reason


def as_json(entry: PruneEntry) -> dict[str, Any]:
    """An entry for a script."""
    return dataclasses.asdict(entry) | {"path": str(entry.path)}


if __name__ == "__main__":
    cli.run(main)
