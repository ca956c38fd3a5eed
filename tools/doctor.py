#!/usr/bin/env python3
"""Say in a minute, before the queue does in a day, what would fail.

Checks the container runtime, the run's data and tokenizer, disk and inodes, Slurm's partition, account and its opinion
of the very script, and the Hub. With --job it also runs a two-minute job in the run's own container, on its own kind of
nodes: devices per rank, an all-reduce and the network it takes, free GPU memory, writable caches.

examples:
  tools/doctor.py 500k500k100k --cluster local --workspace demo/workspace
  tools/doctor.py 146m14b400m
  tools/doctor.py 146m14b400m --nodes 2 --job
"""

import argparse
import dataclasses

from encore import cli, human
from encore.doctor import checks, job_checks
from encore.plan import options, resolve, user_config

_JOB_TIME = "00:05:00"


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    options.add_request_options(parser)
    parser.add_argument(
        "--skip", nargs="+", default=[], choices=list(checks.CHECKS), help="checks to leave out"
    )
    parser.add_argument(
        "--job", action="store_true", help="also run a short job on the compute nodes"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=3600,
        metavar="S",
        help="seconds to wait for it; default: 3600",
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; exit code 1 when a finding is wrong."""
    args = build_parser().parse_args(argv)
    config = user_config.load()
    plan = resolve.resolve(options.request(args, config), config)
    findings = checks.examine(plan, args.skip)
    if args.job and all(finding.right is not False for finding in findings):
        short = dataclasses.replace(plan, job=dataclasses.replace(plan.job, time=_JOB_TIME))
        findings += job_checks.in_job(short, args.wait)
    if args.json:
        cli.print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print(human.table(row for finding in findings for row in rows(finding)))
    wrong = sum(finding.right is False for finding in findings)
    if wrong:
        cli.say(
            f"{wrong} of {len(findings)} would fail"
            + ("; --job waits until they are mended" if args.job else "")
        )
    return 1 if wrong else 0


def rows(finding: checks.Finding) -> list[tuple[str, str, str]]:
    """A finding's line; what to do about a wrong one stands below it."""
    line = ({True: "✓", False: "✗", None: "–"}[finding.right], finding.what, finding.seen)
    return [line, ("", "", f"→ {finding.advice}")] if finding.right is False else [line]


if __name__ == "__main__":
    cli.run(main)
