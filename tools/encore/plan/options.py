"""The command-line options that make a request, the same in every command that plans a run."""

import argparse
from typing import get_args

from encore import human
from encore.plan import run_name, settings, user_config
from encore.plan.records import Request
from encore.plan.user_config import UserConfig
from encore.registry.folder import Objective


def add_request_options(parser: argparse.ArgumentParser) -> None:
    """Add the run's name and every option that decides its plan; `request` reads them."""
    parser.add_argument("run", metavar="RUN", help="the run's name, for example 146m14b400m")
    # A group of their own: each command's --help shows them apart from what it adds.
    group = parser.add_argument_group("the run's plan")
    add = group.add_argument
    add(
        "--cluster",
        metavar="NAME",
        help="lumi, cuda, local, …; default: the one in your configuration, else the one whose"
        " Slurm this machine belongs to, else lumi",
    )
    add(
        "--nodes",
        type=human.integer,
        metavar="N",
        help="default: the fewest that finish within one job",
    )
    add(
        "--time",
        help="time limit of one job in any of Slurm's forms: 30 (minutes), HH:MM:SS, D-HH,"
        " D-HH:MM:SS; default: the cluster's",
    )
    add("--account", help="Slurm account; default: the one in your configuration")
    add(
        "--objective",
        choices=get_args(Objective),
        default="causal",
        help="training objective; default: causal",
    )
    add("--trainer", help="turkunlp, bigscience, deepspeedai or builtin; default: the cluster's")
    add(
        "--workspace",
        metavar="DIR",
        help="folder of data, checkpoints and logs; default: the one in your configuration,"
        " else the cluster's",
    )
    add(
        "--as-released",
        action="store_true",
        help="train the samples and batch of the released run where they differ from its name",
    )
    for part in ("params", "tokens", "unique"):
        add(
            f"--{part}", metavar="AMOUNT", help=f"the {part} part of an ambiguous name, such as 1b1"
        )
    # `extend`, so that --set a=1 --set b=2 and --set a=1 b=2 are the same
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override defaults, such as lr=1.0e-4 seed=7; tools/render_sbatch.py RUN --set help"
        " lists every key and its value",
    )


def request(args: argparse.Namespace, config: UserConfig) -> Request:
    """The request that parsed arguments describe; raises UsageError for a wrong --set."""
    return Request(
        name=args.run,
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
