#!/usr/bin/env python3
"""Build a container image from containers/*.def, or say what an image is made of.

Builds to a temporary name, runs the image's own test, writes a record with its digest beside it, then puts it in place.
The base's digest is resolved at the first build and written to registry/images.yml with the image's own; a base that
has moved since is refused. Run it as an ordinary user; on LUMI with proot on the PATH (module load systools).

examples:
  tools/build_image.py cpu --dry-run                            what would be built, from what, with which command
  tools/build_image.py cpu --out images
  tools/build_image.py cpu --build-arg base=/path/to/debian12.sif --tag local
  tools/build_image.py rocm --out /projappl/project_465000000/images
  tools/build_image.py cuda --build-arg trainers=bigscience
  tools/build_image.py inspect images/encore-cpu.sif --json     exit 1 when it is not the one that the registry names
"""

import argparse
import dataclasses
import os
import shlex
from pathlib import Path

from encore import cli, human
from encore.errors import UsageError
from encore.images import build, inspect
from encore.images import record as images
from encore.plan import user_config
from encore.registry.images import load_images


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "what", metavar="rocm|cuda|cpu|inspect", choices=[*load_images(), "inspect"]
    )
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="IMAGE", help="with inspect: the image"
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the image; default: your configuration's, else images/"
    )
    parser.add_argument(
        "--tag", help="part of the file's name, for an image of your own: encore-cpu-TAG.sif"
    )
    parser.add_argument(
        "--build-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="see the .def's %%help",
    )
    parser.add_argument(
        "--runtime", choices=["auto", *build.RUNTIMES], default="auto", help="default: auto"
    )
    parser.add_argument(
        "--sandbox", action="store_true", help="a folder to try things in, instead of an image"
    )
    parser.add_argument(
        "--accept-moved-base", action="store_true", help="build from what the base's tag names now"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done; write nothing"
    )
    parser.add_argument(
        "--json", action="store_true", help="print the record, the plan or the inspection as JSON"
    )
    return parser


def build_arguments(given: list[str]) -> dict[str, str]:
    """NAME=VALUE, taken apart."""
    pairs = [text.partition("=") for text in given]
    for name, separator, _ in pairs:
        if not (separator and name):
            raise UsageError(
                f"--build-arg {shlex.quote(name)} is not NAME=VALUE",
                "write for example base=/path/x.sif",
            )
    return {name: value for name, _, value in pairs}


def out_folder(given: Path | None) -> Path:
    """The option's, else the user's own folder of images, else images/ here."""
    config = user_config.load()
    folder = config.folders.get("images") or (
        f"{config.workspace}/images" if config.workspace else "images"
    )
    return (given or Path(folder)).expanduser().absolute()


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if (args.what == "inspect") != (args.file is not None):
        parser.error("inspect needs an IMAGE, a build takes none")
    if args.what == "inspect":
        found = inspect.inspect(args.file, args.runtime)
        cli.print_json(found.as_json()) if args.json else print(human.table(found.rows()))
        return 1 if found.identity.is_named is False else 0
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "encore" / "wheels"
    request = build.BuildRequest(
        image=args.what,
        out=out_folder(args.out),
        cache=cache,
        tag=args.tag,
        arguments=build_arguments(args.build_arg),
        runtime=args.runtime,
        sandbox=args.sandbox,
        accept_moved_base=args.accept_moved_base,
    )
    if args.dry_run:
        rows = build.as_rows(request)
        cli.print_json(dict(rows)) if args.json else print(human.table(rows))
        return 0
    record = build.build(request, cli.say)
    cli.say(f"{request.target} is in place, {images.record_path(request.target).name} beside it")
    cli.print_json(dataclasses.asdict(record)) if args.json else print(request.target)
    return 0


if __name__ == "__main__":
    cli.run(main)
