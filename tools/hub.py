#!/usr/bin/env python3
"""Pull the paper's runs and data sets from the Hugging Face Hub, and push your own runs to it.

list needs no network. where asks the Hub, if it answers, whether a run is really where the registry
says. pull downloads a run's checkpoint (--what for more), or a data set's files, into --out: every
file verified, downloads resumed, hub-manifest.json written last. It replaces files of an earlier
pull, and others only with --force. push uploads what changed; sync
does so again and again. Neither removes anything from the Hub, and both skip links, hidden and
temporary files and unfinished checkpoints. Names may be the Hub's own (datablations/c4-subsets,
lm1-146m14b400m), in any case. Log in with `hf auth login` or HF_TOKEN; HF_ENDPOINT
names a mirror, HF_HUB_OFFLINE=1 forbids requests.

examples:
  tools/hub.py list                                      the paper's repositories
  tools/hub.py list --runs 146m                          runs whose name contains 146m, and where
  tools/hub.py where 146m14b400m
  tools/hub.py pull 146m14b400m --step latest --dry-run  list files and bytes, download nothing
  tools/hub.py pull 146m14b400m --what transformers evaluation --out models/146m14b400m
  tools/hub.py pull c4-subsets/gpt2tok_c4_en_1B9 --out data
  tools/hub.py pull gpt2 --out tokenizers/gpt2           vocab.json and merges.txt, by their SHA-256
  tools/hub.py push 146m14b400m checkpoints/146m14b400m --create --private
  tools/hub.py sync 146m14b400m tensorboard/146m14b400m --patterns '*tfevents*' --every 10m
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import functools
import os
import signal
import time
from typing import Any

from encore import cli, hub_library, human
from encore.errors import HubUnreachableError
from encore.hub import client, locate, pull, run_files, upload
from encore.plan import options, user_config
from encore.registry import released


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="list|where|pull|push|sync"
    )
    add = functools.partial(commands.add_parser, allow_abbrev=False)
    _add_list_options(add("list", help="the paper's repositories and runs, without network"))
    where = add("where", help="a run's repository and folder")
    where.add_argument("run", metavar="RUN")
    where.add_argument("--json", action="store_true", help="print JSON")
    _add_pull_options(add("pull", help="download a run, data set or tokenizer"))
    push = add("push", help="upload what changed in a folder")
    sync = add("sync", help="push again and again, until SIGINT or SIGTERM")
    for command in (push, sync):
        _add_push_options(command)
    push.add_argument("--dry-run", action="store_true", help="print files and bytes; send nothing")
    push.add_argument("--json", action="store_true", help="print JSON")
    sync.add_argument(
        "--every",
        type=human.interval,
        default=600.0,
        metavar="TIME",
        help="30s, 10m, 1h; default: 10m",
    )
    return parser


def _add_list_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("match", nargs="?", default="", help="only names that contain this")
    add("--runs", action="store_true", help="list runs instead of repositories")
    add("--kind", choices=released.KINDS, help="only repositories of this kind")
    add("--corpus", choices=released.corpora(), help="only repositories of this corpus")
    add("--repo", help="list the runs of this repository")
    add("--json", action="store_true", help="print JSON")


def _add_pull_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="RUN|DATASET[/PREFIX]|TOKENIZER", help="what to download")
    add("--repo", help="the repository, for a run that is in several; or any as OWNER/NAME")
    add("--revision", default="main", help="branch, tag or commit; default: main")
    add(
        "--step",
        type=step,
        metavar="N|latest|all",
        help="of the checkpoints; default: the only one",
    )
    add(
        "--what",
        nargs="+",
        choices=[*run_files.KINDS, "all"],
        default=["checkpoint"],
        metavar="WHAT",
        help=f"{', '.join(run_files.KINDS)} or all; default: checkpoint",
    )
    add("--out", type=human.path, metavar="DIR", help="default: the run's or data set's name")
    add(
        "--jobs",
        type=human.integer,
        choices=range(1, 33),
        default=4,
        metavar="N",
        help="parallel downloads, 1 to 32; default: 4",
    )
    add("--force", action="store_true", help="also replace files in DIR that no pull wrote")
    add("--remove-parts", action="store_true", help="remove a data set's parts once joined")
    add("--dry-run", action="store_true", help="print files and bytes; download nothing")
    add("--json", action="store_true", help="print JSON")


def _add_push_options(parser: argparse.ArgumentParser) -> None:
    options.add_request_options(parser)
    add = parser.add_argument
    add("folder", type=human.path, metavar="DIR", help="the folder that holds the run's files")
    add("--repo", metavar="OWNER/NAME", help="default: YOU/RUN")
    add(
        "--patterns",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="only files that match, such as '*tfevents*'",
    )
    add("--create", action="store_true", help="create the repository if it does not exist")
    add("--private", action="store_true", help="with --create: a private repository")


def step(text: str) -> str:
    """A checkpoint's step as the Hub's folders have it, `latest` or `all`."""
    if text not in ("latest", "all") and not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a step; write its number, latest or all")
    return text


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    commands = {
        "list": show_list,
        "where": show_where,
        "pull": pull_files,
        "push": push_folder,
        "sync": sync_folder,
    }
    return commands[args.command](args)


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print records as JSON or as a table, in which None is a dash."""
    if as_json:
        cli.print_json(rows)
    elif rows:
        lines = []
        for row in rows:
            lines.append(["-" if value is None else value for value in row.values()])
        print(human.table(lines, list(rows[0])))
    else:
        cli.say("nothing matches")


def show_list(args: argparse.Namespace) -> int:
    """Print repositories, or runs with their places."""
    rows = []
    if args.runs or args.repo:
        for place in released.matching_runs(args.match.lower(), args.kind, args.corpus, args.repo):
            rows.append(
                {
                    "run": place.run,
                    "repository": place.repository,
                    "attribution": place.attribution,
                }
            )
    else:
        for name, repository in released.repositories(args.kind, args.corpus).items():
            if args.match.lower() in name:
                rows.append(vars(repository))
    print_rows(rows, args.json)
    return 0


def show_where(args: argparse.Namespace) -> int:
    """Print a run's places; exit code 1 when the Hub answers and its one place does not hold it."""
    places = released.places(args.run)
    ask_hub = _can_ask_hub()
    reports = [locate.place_report(place, ask_hub) for place in places]
    if args.json:
        cli.print_json(reports)
    else:
        print("\n\n".join(_report_table(report) for report in reports))
    is_missing = reports[0]["checked"].startswith(locate.NOT_ON_HUB)
    return 1 if len(reports) == 1 and is_missing else 0


def _can_ask_hub() -> bool:
    unchecked = "what follows comes from the registry and was not checked on the Hub"
    if not hub_library.is_installed():
        cli.say(f"huggingface_hub is not installed ({hub_library.INSTALL_HINT}): {unchecked}")
        return False
    if not hub_library.is_reachable():
        cli.say(f"{hub_library.endpoint()} does not answer: {unchecked}")
        return False
    return True


def _report_table(report: dict[str, Any]) -> str:
    rows = []
    for key, value in report.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        rows.append((key, text or "-"))
    return human.table(rows)


def pull_files(args: argparse.Namespace) -> int:
    """Download files, or list them with --dry-run."""
    kinds = run_files.KINDS if "all" in args.what else tuple(args.what)
    selection = locate.RunSelection(kinds, args.step)
    plan = locate.download_plan(args.name, args.repo, args.revision, selection, args.out)
    if args.dry_run:
        downloads = pull.check(plan, args.jobs, cli.byte_progress, args.force)
        verb = "would download"
    else:
        result = pull.pull(plan, args.jobs, args.remove_parts, cli.byte_progress, args.force)
        downloads = list(result.downloaded)
        verb = "downloaded"
    if args.dry_run or args.json:
        rows = []
        for item in plan.items:
            rows.append(
                {
                    "bytes": item.file.size,
                    "file": item.local,
                    "taken": item in downloads,
                    "from": item.file.path,
                }
            )
        print_rows(rows, args.json)
    size = sum(item.file.size for item in downloads)
    cli.say(
        f"{plan.repository.name} at {plan.commit[:12]}: {verb} {len(downloads)} of"
        f" {len(plan.items)} files, {size:,} bytes ({human.byte_size(size)}), into {plan.out}"
    )
    return 0


def push_options(args: argparse.Namespace, attempts: int = 5) -> upload.PushOptions:
    """What the command line says about the repository and the files."""
    return upload.PushOptions(args.repo, tuple(args.patterns), args.create, args.private, attempts)


def push_folder(args: argparse.Namespace) -> int:
    """Upload what changed, or list it with --dry-run."""
    config = user_config.load()
    request = options.request(args, config)
    if args.dry_run:
        push = upload.prepare(request, args.folder, push_options(args), config)
        push.check_patterns()
        rows = [{"bytes": file.size, "file": file.path} for file in push.changes()]
        print_rows(rows, args.json)
        size = sum(row["bytes"] for row in rows)
        cli.say(f"{push.repository.name}: would send {len(rows)} files, {size:,} bytes")
        return 0
    result = upload.push_run(request, args.folder, push_options(args), config)
    url = client.page_url(result.repository)
    cli.say(f"{url}: sent {result.files} files, {result.bytes:,} bytes")
    if args.json:
        name = result.repository.name
        cli.print_json({"repository": name, "files": result.files, "bytes": result.bytes})
    return 0


def sync_folder(args: argparse.Namespace) -> int:
    """Push, wait, and push again; what a signal interrupts, the next push sends whole."""

    def end(*_: object) -> None:
        os.write(2, b"ended; commits so far stay, the next sync or push sends the rest\n")
        # a normal exit would wait for the upload's threads to send what they have begun
        os._exit(0)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    config = user_config.load()
    settings = push_options(args, attempts=2)  # the next round is an attempt too
    push = upload.prepare(options.request(args, config), args.folder, settings, config)
    upload.create_repository(push, settings)
    while True:
        try:
            result = push.run()
            outcome = f"{push.repository.name}: sent {result.files} files, {result.bytes:,} bytes"
        except (HubUnreachableError, FileNotFoundError) as error:
            # FileNotFoundError: a file was removed while it was sent
            outcome = f"{error}; next attempt in {human.duration(args.every)}"
        cli.say(f"{time.strftime('%F %T')} {outcome}")
        time.sleep(args.every)


if __name__ == "__main__":
    cli.run(main, extra="hub")
