#!/usr/bin/env python3
"""Render the job script of a run, ready for sbatch (or for bash on a machine without Slurm).

The script goes to stdout; the plan and its warnings go to stderr. A run's name gives parameters, training tokens and
unique tokens: 146m14b400m is 146M parameters, 14B tokens, 400M of them unique.

examples:
  tools/render_sbatch.py 500k500k100k --cluster local | bash        on this machine, without Slurm or a container
  tools/render_sbatch.py 146m14b400m --dry-run                      the whole plan as a table, nothing rendered
  tools/render_sbatch.py 146m14b400m --cluster lumi --account project_465000000 | sbatch
  tools/render_sbatch.py 2b855b11bc4 --nodes 16 --set lr=1.0e-4 save_interval=500 --out job.sh
  tools/render_sbatch.py 146m14b400m --cluster lumi --out job.sh --check     exit 1 when job.sh is not up to date
"""

import argparse
from pathlib import Path

from encore import cli, files
from encore.jobs import render
from encore.plan import options, report, resolve, user_config


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    options.add_request_options(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan to stdout instead of a script"
    )
    parser.add_argument("--json", action="store_true", help="with --dry-run: the plan as JSON")
    parser.add_argument("--out", type=Path, help="write the script to this file")
    parser.add_argument(
        "--check", action="store_true", help="with --out: write nothing, exit 1 if the file differs"
    )
    parser.add_argument("--quiet", action="store_true", help="do not print the plan on stderr")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.check and not args.out:
        parser.error("--check compares with a file: give --out FILE")
    if args.json and not args.dry_run:
        parser.error("--json is the plan's form: give --dry-run with it")
    config = user_config.load()
    plan = resolve.resolve(options.request(args, config), config)
    for warning in plan.warnings:
        cli.warn(warning)
    if args.dry_run:
        cli.print_json(report.as_json(plan)) if args.json else print(report.as_table(plan))
        return 0
    if not args.quiet:
        cli.say(report.as_table(plan))
    if plan.cluster.scheduler == "slurm" and not Path(plan.paths.logs).is_dir():
        # Slurm opens the log before the script runs, and a job whose log cannot be opened dies without a word
        cli.warn(
            f"{plan.paths.logs} is not there on this machine; on the cluster: mkdir -p {plan.paths.logs}"
        )
    script = render.train_script(plan)
    if args.check:
        same = args.out.is_file() and args.out.read_text(encoding="utf-8") == script
        cli.say(f"{args.out} is {'up to date' if same else 'not up to date'}")
        return 0 if same else 1
    if args.out:
        files.write_text(args.out, script)
    else:
        print(script, end="")
    return 0


if __name__ == "__main__":
    cli.run(main)
