#!/usr/bin/env python3
"""Find out in a minute, rather than after a day in the queue, what would fail.

Checks the container runtime and image, the run's data and tokenizer, disk and inodes, whether the
run may go on from its last checkpoint, Slurm's partition and account, whether Slurm would accept
this very script, and the Hub. With --job it also runs a two-minute job in the run's own container,
on its own kind of nodes: devices per rank, an all-reduce and its network, free GPU memory, writable
caches.

examples:
  tools/doctor.py 500k500k100k --cluster local --workspace demo/workspace
  tools/doctor.py 146m14b400m
  tools/doctor.py 146m14b400m --nodes 2 --job
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import dataclasses
import functools

from encore import cli, findings, human
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
        type=human.number,
        default=3600,
        metavar="S",
        help="seconds to wait for that job; default: 3600",
    )
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; exit code 1 when a finding is wrong."""
    args = build_parser().parse_args(argv)
    config = user_config.load()
    plan = resolve.resolve(options.request(args, config), config)
    results = checks.examine(plan, args.skip)
    runs_job = args.job and not findings.wrong(results)
    if runs_job:
        short = dataclasses.replace(plan, job=dataclasses.replace(plan.job, time=_JOB_TIME))
        job_check = functools.partial(job_checks.in_job, short, args.wait)
        results += checks.run_check("job", job_check, "no --job")
    if args.json:
        cli.print_json([dataclasses.asdict(finding) for finding in results])
    else:
        print(findings.table(results))
    wrong = findings.wrong(results)
    if not wrong:
        return 0
    summary = f"{len(wrong)} of {len(results)} checks would fail the run"
    if args.job and not runs_job:
        summary += "; the job of --job was not submitted: fix these first"
    cli.say(summary)
    return 1


if __name__ == "__main__":
    cli.run(main)
