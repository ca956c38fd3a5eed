#!/usr/bin/env python3
"""Bring the paper's runs and data sets from the Hugging Face Hub, and a run of yours to it.

list and where need no network; where asks the Hub too, if it answers, whether a run is really where the registry
says. pull takes a run's checkpoint (--what for more), or a data set's files, into OUT: verified, resumed, with
hub-manifest.json last. push sends what changed, sync does so again and again; neither removes anything there, and both
leave links, hidden and temporary files and unfinished checkpoints here. Log in with `hf auth login` or HF_TOKEN;
HF_ENDPOINT names a mirror, HF_HUB_OFFLINE=1 keeps from asking.

examples:
  tools/hub.py list                                      the paper's repositories
  tools/hub.py list --runs 146m                          its runs whose name holds 146m, and where each is
  tools/hub.py where 146m14b400m
  tools/hub.py pull 146m14b400m --step latest --dry-run  the files and bytes, nothing taken
  tools/hub.py pull 146m14b400m --what transformers evaluation --out models/146m14b400m
  tools/hub.py pull c4-subsets/gpt2tok_c4_en_1B9 --out data
  tools/hub.py push 146m14b400m checkpoints/146m14b400m --create --private
  tools/hub.py sync 146m14b400m tensorboard/146m14b400m --patterns '*tfevents*' --every 10m
"""

import argparse
import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

from encore import cli, human
from encore.errors import HubUnreachableError, UsageError
from encore.hub import client, download, joins, locate, model_card, upload
from encore.hub import run_files as kinds
from encore.plan import options, resolve, user_config
from encore.registry import released
from tqdm import tqdm


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="list|where|pull|push|sync"
    )
    add = functools.partial(commands.add_parser, allow_abbrev=False)
    listing = add("list", help="the paper's repositories and runs, without network")
    listing.add_argument("match", nargs="?", default="", help="only names that hold this")
    listing.add_argument("--runs", action="store_true", help="runs instead of repositories")
    listing.add_argument("--kind", choices=released.KINDS, help="repositories of this kind")
    listing.add_argument("--corpus", choices=released.corpora(), help="repositories of this corpus")
    listing.add_argument("--repo", help="the runs of this repository")
    where = add("where", help="a run's repository and folder")
    pull = add("pull", help="bring a run or data set here")
    push = add("push", help="send a folder's changes")
    sync = add("sync", help="send a folder's changes, again and again, until SIGINT or SIGTERM")
    where.add_argument("run", metavar="RUN")
    pull.add_argument(
        "name",
        metavar="RUN|DATASET[/PREFIX]",
        help="a run, or a data set or the files of one prefix",
    )
    pull.add_argument(
        "--step", metavar="N|latest|all", help="of the checkpoints; default: the only one there is"
    )
    pull.add_argument("--what", nargs="+", choices=[*kinds.KINDS, "all"], default=["checkpoint"], metavar="WHAT",
                      help=f"{', '.join(kinds.KINDS)} or all; default: checkpoint")  # fmt: skip
    pull.add_argument("--out", type=Path, help="folder; default: the run's or data set's name")
    pull.add_argument("--revision", default="main", help="branch, tag or commit; default: main")
    pull.add_argument(
        "--jobs",
        type=int,
        choices=range(1, 33),
        default=4,
        metavar="N",
        help="files at once, 1 to 32",
    )
    pull.add_argument(
        "--remove-parts", action="store_true", help="of a data set, each as soon as it is joined"
    )
    for command in (push, sync):
        options.add_request_options(command)
        command.add_argument("folder", type=Path, metavar="DIR")
        command.add_argument(
            "--patterns",
            nargs="+",
            default=[],
            metavar="GLOB",
            help="only such files: '*tfevents*'",
        )
        command.add_argument(
            "--create", action="store_true", help="make the repository if it is not there"
        )
        command.add_argument(
            "--private", action="store_true", help="with --create: only for you to see"
        )
    sync.add_argument(
        "--every",
        type=human.interval,
        default=600.0,
        metavar="TIME",
        help="30s, 10m, 1h; default: 10m",
    )
    pull.add_argument("--repo", help="which, where a run stands in several; or OWNER/NAME")
    for command in (push, sync):
        command.add_argument("--repo", metavar="OWNER/NAME", help="default: YOU/RUN")
    for command in (pull, push):
        command.add_argument(
            "--dry-run", action="store_true", help="print files and bytes; move nothing"
        )
    for command in (listing, where, pull, push):
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    return {"list": show_list, "where": show_where, "pull": pull, "push": push, "sync": sync}[
        args.command
    ](args)


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Records, as a table or as JSON."""
    if as_json:
        cli.print_json(rows)
    elif rows:
        print(
            human.table(
                [["-" if v is None else v for v in row.values()] for row in rows], list(rows[0])
            )
        )
    else:
        cli.say("nothing matches")


def show_list(args: argparse.Namespace) -> int:
    """Repositories, or runs with their places."""
    if args.runs or args.repo:
        places = released.matching_runs(args.match, args.kind, args.corpus, args.repo)
        rows = [
            {"run": p.run, "repository": p.repository, "attribution": p.attribution} for p in places
        ]
    else:
        known = released.repositories(args.kind, args.corpus)
        rows = [vars(entry) for name, entry in known.items() if args.match in name]
    show(rows, args.json)
    return 0


def show_where(args: argparse.Namespace) -> int:
    """A run's places; 1 when the Hub answers and none of them holds it."""
    places = released.places(args.run)
    asked = client.reachable()
    if not asked:
        cli.say(
            f"{client.endpoint()} does not answer: what follows is the registry's, not checked on the Hub"
        )
    rows = [locate.place_report(place, asked) for place in places]
    if args.json:
        cli.print_json(rows)
    else:
        texts = (
            {key: ", ".join(map(str, v)) if isinstance(v, list) else v for key, v in row.items()}
            for row in rows
        )
        print(
            "\n\n".join(
                human.table([(key, value or "-") for key, value in row.items()]) for row in texts
            )
        )
    return 1 if any("not there" in row["checked"] for row in rows) and len(rows) == 1 else 0


def pull(args: argparse.Namespace) -> int:
    """Bring files; with --dry-run say which."""
    whats = kinds.KINDS if "all" in args.what else tuple(args.what)
    order = locate.download_plan(
        args.name, args.repo, args.revision, locate.RunSelection(whats, args.step), args.out
    )
    if not args.dry_run:
        joins.resume(order, args.remove_parts)
    needed = missing(order, args.jobs)
    if args.dry_run:
        taken = "would take"
    else:
        if joins.drop_stale(order, needed):
            needed = missing(order, args.jobs)
        download.check_disk(order, needed, joins.bytes_needed(order, args.remove_parts))
        with tqdm(
            total=sum(item.file.size for item in needed), unit="B", unit_scale=True, disable=None
        ) as bar:
            download.download_files(order, needed, args.jobs, bar.update, cli.say)
        joins.join(order, args.remove_parts, cli.say)
        taken = "took"
    rows = [
        {
            "bytes": item.file.size,
            "file": item.local,
            "taken": item in needed,
            "from": item.file.path,
        }
        for item in order.items
    ]
    if args.dry_run or args.json:
        show(rows, args.json)
    total = sum(item.file.size for item in needed)
    cli.say(
        f"{order.repository.name} at {order.commit[:12]}: {taken} {len(needed)} of {len(rows)} files,"
        f" {total:,} bytes ({human.byte_size(total)}), into {order.out}"
    )
    return 0


def missing(order: download.DownloadPlan, jobs: int) -> list[download.DownloadItem]:
    """What is not here yet, behind a progress bar: what is here is read through."""
    with tqdm(
        total=order.bytes, unit="B", unit_scale=True, disable=None, leave=False, desc="checking"
    ) as bar:
        return download.missing_files(order, jobs, bar.update)


def prepared(args: argparse.Namespace) -> upload.Push:
    """The push that the options describe; makes the repository where that is asked for."""
    if args.private and not args.create:
        raise UsageError("--private is for a repository that is made", "say --create with it")
    if args.repo and args.repo.count("/") != 1:
        raise UsageError(
            f"--repo {args.repo!r} is not OWNER/NAME", f"leave it out for YOU/{args.run}"
        )
    config = user_config.load()
    plan = resolve.resolve(options.request(args, config), config)
    repository = (
        client.Repository(args.repo)
        if args.repo
        else client.Repository(f"{client.username()}/{args.run}")
    )
    if args.create and not getattr(args, "dry_run", False):
        client.create_repository(repository, args.private)
    card = functools.partial(model_card.text, plan, args.folder)
    tries = 2 if args.command == "sync" else 5  # the next round is a try too
    return upload.Push(args.folder, repository, card, tuple(args.patterns), cli.say, tries)


def push(args: argparse.Namespace) -> int:
    """Send what changed; with --dry-run say what that is."""
    job = prepared(args)
    if args.dry_run:
        rows = [{"bytes": file.size, "file": file.path} for file in job.changes()]
        show(rows, args.json)
        cli.say(
            f"{job.repository.name}: would send {len(rows)} files, {sum(row['bytes'] for row in rows):,} bytes"
        )
        return 0
    count, sent = job.run()
    cli.say(f"{client.page_url(job.repository)}: sent {count} files, {sent:,} bytes")
    if args.json:
        cli.print_json({"repository": job.repository.name, "files": count, "bytes": sent})
    return 0


def sync(args: argparse.Namespace) -> int:
    """Send what changed, wait, and again; what a signal interrupts is sent whole by the next call."""

    def end(*_: object) -> None:
        os.write(2, b"ended; what is committed stays, the rest goes with the next sync or push\n")
        os._exit(
            0
        )  # not by way of the upload's threads, which would first send what they have begun

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    job = prepared(args)
    while True:
        try:
            count, sent = job.run()
            cli.say(
                f"{time.strftime('%F %T')} {job.repository.name}: sent {count} files, {sent:,} bytes"
            )
        except (
            HubUnreachableError,
            FileNotFoundError,
        ) as error:  # the latter: a file went while it was sent
            cli.say(
                f"{time.strftime('%F %T')} {error}; the next try comes in {human.duration(args.every)}"
            )
        time.sleep(args.every)


if __name__ == "__main__":
    cli.run(main)
