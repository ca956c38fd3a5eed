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

from encore import cli, files, kit
from encore.jobs import render
from encore.plan import report, resolve, run_name, settings, user_config
from encore.plan.records import Request


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument("name", help="the run, for example 146m14b400m")
    parser.add_argument(
        "--cluster",
        help="lumi, cuda, local, …; default: your configuration, else this machine's own",
    )
    parser.add_argument("--nodes", type=int, help="default: the fewest that end within one job")
    parser.add_argument("--time", help="limit of one job, D-HH:MM:SS; default: the cluster's")
    parser.add_argument("--account", help="Slurm account; default: your configuration")
    parser.add_argument(
        "--objective", choices=["causal", "ul2"], default="causal", help="default: causal"
    )
    parser.add_argument(
        "--trainer", help="turkunlp, bigscience, deepspeedai or builtin; default: the cluster's"
    )
    parser.add_argument(
        "--workspace", help="folder of data, checkpoints and logs; default: your configuration"
    )
    parser.add_argument(
        "--as-released", action="store_true", help="repeat what ran in the paper, where it differs"
    )
    for part in ("params", "tokens", "unique"):
        parser.add_argument(
            f"--{part}",
            metavar="AMOUNT",
            help=f"decides an ambiguous name: its {part} part, as 1b1",
        )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override a default",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the plan to stdout instead of a script"
    )
    parser.add_argument("--json", action="store_true", help="with --dry-run: the plan as JSON")
    parser.add_argument("--out", type=Path, help="write the script to this file")
    parser.add_argument(
        "--check", action="store_true", help="with --out: write nothing, exit 1 if the file differs"
    )
    parser.add_argument("--quiet", action="store_true", help="no plan on stderr, warnings only")
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
    request = Request(
        name=args.name,
        cluster=args.cluster or user_config.default_cluster(config),
        nodes=args.nodes,
        time=args.time,
        account=args.account,
        objective=args.objective,
        trainer=args.trainer,
        workspace=args.workspace,
        as_released=args.as_released,
        choice=run_name.Choice(args.params, args.tokens, args.unique),
        settings=settings.parse(args.set),
    )
    plan = resolve.resolve(request, config)
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
    script = render.train_script(plan, render.Origin(request.as_command(), str(kit.ROOT)))
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
