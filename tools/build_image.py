#!/usr/bin/env python3
"""Build a container image from containers/*.def, or show what an image is made of.

Builds under a temporary name, runs the image's own test, writes a record with its digest beside it,
then renames it into place. A build that fails leaves nothing. A base whose digest differs from the
one in registry/images.yml is refused. After a build without --tag and --build-arg the digests are
printed as registry/images.yml holds them: enter them there, and doctor.py and the playbooks verify
the image against them.

Run it as an ordinary user; on LUMI with proot on the PATH (module load systools).

examples:
  tools/build_image.py cpu --dry-run                  what would be built, and the command
  tools/build_image.py cpu --out images
  tools/build_image.py cpu --build-arg base=/path/to/debian12.sif --tag local
  tools/build_image.py rocm --out /projappl/project_465000000/images
  tools/build_image.py cuda --build-arg trainers=bigscience
  tools/build_image.py inspect images/encore-cpu.sif  exit code 1: not the image in the registry
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import dataclasses
import shlex
from pathlib import Path

from encore import cli, files, human
from encore.errors import UsageError
from encore.images import build, runtime
from encore.images.inspect import inspect
from encore.images.record import record_path, registry_entry
from encore.plan import user_config
from encore.registry.images import load_images


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    names = [*load_images(), "inspect"]
    add = parser.add_argument
    add("what", metavar="|".join(names), choices=names, help="the image to build, or inspect")
    add("file", nargs="?", type=human.path, metavar="IMAGE", help="with inspect: the image file")
    add(
        "--out",
        type=human.path,
        help="the image's folder (default: as in your configuration, or images/)",
    )
    add("--tag", help="a name for a variant of yours: encore-cpu-TAG.sif")
    add(
        "--build-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the definition, repeatable; the %%help of its .def file lists them",
    )
    add(
        "--runtime",
        choices=["auto", *runtime.PROGRAMS],
        default="auto",
        help="default: the first that is installed",
    )
    add("--sandbox", action="store_true", help="build a folder to experiment in, not an image")
    add("--accept-moved-base", action="store_true", help="build from the base's new digest")
    add("--dry-run", action="store_true", help="show what would be done; write nothing")
    add("--json", action="store_true", help="print the record, plan or inspection as JSON")
    return parser


def parse_build_arguments(texts: list[str]) -> dict[str, str]:
    """NAME=VALUE... as a mapping; raises UsageError."""
    arguments = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not (separator and name):
            raise UsageError(
                f"--build-arg {shlex.quote(text)} is not NAME=VALUE",
                "write for example base=/path/x.sif",
            )
        arguments[name] = value
    return arguments


def default_folder() -> Path:
    """The folder of images in the user's configuration, else images/ in the current folder."""
    config = user_config.load()
    if "images" in config.folders:
        return Path(config.folders["images"])
    if config.workspace:
        return Path(config.workspace) / "images"
    return Path("images")


def cache_folder() -> Path:
    """Where wheels are kept between builds."""
    return files.user_folder("XDG_CACHE_HOME", ".cache") / "encore" / "wheels"


def show_inspection(args: argparse.Namespace) -> int:
    """Print what an image is made of; 1 when it is not the registry's."""
    inspection = inspect(args.file, args.runtime)
    if args.json:
        cli.print_json(inspection.as_json())
    else:
        print(human.table(inspection.rows()))
    if inspection.identity.is_named is False:
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.what == "inspect":
        if args.file is None:
            parser.error("inspect needs an IMAGE")
        return show_inspection(args)
    if args.file is not None:
        parser.error(f"{args.file}: only inspect accepts an IMAGE")
    request = build.BuildRequest(
        image=args.what,
        out=(args.out or default_folder()).absolute(),
        cache=cache_folder(),
        tag=args.tag,
        arguments=parse_build_arguments(args.build_arg),
        program=args.runtime,
        sandbox=args.sandbox,
        accept_moved_base=args.accept_moved_base,
    )
    if args.dry_run:
        rows = build.plan_rows(request)
        if args.json:
            cli.print_json(dict(rows))
        else:
            print(human.table(rows))
        return 0
    record = build.build(request)
    cli.say(f"wrote {request.target} and {record_path(request.target).name} beside it")
    if request.is_default:
        cli.say(f"its digests, to enter in registry/images.yml:\n{registry_entry(record)}")
    if args.json:
        cli.print_json(dataclasses.asdict(record))
    else:
        print(request.target)
    return 0


if __name__ == "__main__":
    cli.run(main)
