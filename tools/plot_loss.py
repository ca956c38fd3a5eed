#!/usr/bin/env python3
"""Draw a run's loss against the tokens it has seen, from its TensorBoard folder.

examples:
  tools/plot_loss.py demo/workspace/tensorboard/500k500k100k --out loss.png
  tools/plot_loss.py tensorboard/146m14b400m --out loss.svg --unique-tokens 400M
"""

import argparse
from pathlib import Path

from encore import cli, human
from encore.curves import losses, plot
from encore.errors import UsageError

_ENDINGS = (".png", ".svg", ".pdf")


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "tensorboard", type=Path, help="folder of event files (--tensorboard-dir of the trainer)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help=f"picture to write: {', '.join(_ENDINGS)}"
    )
    parser.add_argument("--title", help="default: the folder's name")
    parser.add_argument(
        "--unique-tokens", type=human.amount, help="draw a line at each epoch of this many tokens"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    if args.out.suffix not in _ENDINGS:
        raise UsageError(f"cannot draw into {args.out}", f"end the name in {' or '.join(_ENDINGS)}")
    curves = [losses.training_curve(args.tensorboard), *losses.validation_curves(args.tensorboard)]
    plot.draw_loss(curves, args.title or args.tensorboard.name, args.out, args.unique_tokens)
    cli.say(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    cli.run(main)
