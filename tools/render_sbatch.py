#!/usr/bin/env python3
"""Render the job script of a run, ready for sbatch, or for bash on a machine without Slurm.

The script goes to stdout, the plan and its warnings to stderr. A run's name states parameters,
training tokens and unique tokens: 146m14b400m has 146M parameters and trains 14B tokens, 400M of
them unique. Without --set every number comes from the registry; --set help lists what it accepts.

examples:
  tools/render_sbatch.py 500k500k100k --cluster local | bash        here, without Slurm
  tools/render_sbatch.py 146m14b400m --dry-run                      the plan as a table, no script
  tools/render_sbatch.py 146m14b400m --cluster lumi --account project_465000000 | sbatch
  tools/render_sbatch.py 2b855b11bc4 --nodes 16 --set lr=1.0e-4 save_interval=500 --out job.sh
  tools/render_sbatch.py 146m14b400m --set help                     each key, its value and origin
  tools/render_sbatch.py 146m14b400m --cluster lumi --out job.sh --check     is job.sh up to date?
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import dataclasses
from pathlib import Path

from encore import cli, files, human
from encore.jobs import render
from encore.plan import options, report, resolve, settings, user_config
from encore.plan.records import Plan, Request


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    options.add_request_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan, not a script")
    parser.add_argument(
        "--json", action="store_true", help="with --dry-run or --set help: print JSON"
    )
    parser.add_argument(
        "--out", type=human.path, metavar="FILE", help="write the script to this file"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="with --out: write nothing; exit 1 if the file is not the script",
    )
    parser.add_argument("--quiet", action="store_true", help="do not print the plan on stderr")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    parser = build_parser()
    args = parser.parse_args(argv)
    list_settings = settings.HELP in args.set
    if args.check and not args.out:
        parser.error("--check compares the script with a file: add --out FILE")
    if args.json and not (args.dry_run or list_settings):
        parser.error("--json prints the plan, not a script: add --dry-run or --set help")
    args.set = [assignment for assignment in args.set if assignment != settings.HELP]
    config = user_config.load()
    request = options.request(args, config)
    plan = resolve.resolve(request, config)
    for warning in plan.warnings:
        cli.warn(warning)
    if list_settings:
        print_settings(plan, request, args.json)
        return 0
    if args.dry_run:
        print_plan(plan, args.json)
        return 0
    if not args.quiet:
        cli.say(report.as_table(plan))
    logs = Path(plan.paths.logs)
    if plan.cluster.scheduler == "slurm" and not logs.is_dir():
        # Slurm opens the log before the script runs; where it cannot, the job dies silently.
        cli.warn(f"{logs} does not exist on this machine; on the cluster: mkdir -p {logs}")
    script = render.train_script(plan)
    if args.check:
        return check(args.out, script)
    if args.out:
        files.write_text(args.out, script)
    else:
        print(script, end="")
    return 0


def print_settings(plan: Plan, request: Request, as_json: bool) -> None:
    """Every key of --set with its value in this plan and that value's origin."""
    if as_json:
        cli.print_json([dataclasses.asdict(row) for row in settings.rows(plan, request)])
    else:
        print(settings.as_table(plan, request))


def print_plan(plan: Plan, as_json: bool) -> None:
    """The plan, as a table or as JSON."""
    if as_json:
        cli.print_json(report.as_json(plan))
    else:
        print(report.as_table(plan))


def check(file: Path, script: str) -> int:
    """0 if the file is the script, else 1."""
    if file.is_file() and file.read_text(encoding="utf-8") == script:
        cli.say(f"{file} is up to date")
        return 0
    cli.say(f"{file} is not up to date")
    return 1


if __name__ == "__main__":
    cli.run(main)
