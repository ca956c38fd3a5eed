#!/usr/bin/env python3
"""Train a GPT on this machine, on CPU or GPUs: the built-in trainer.

It accepts Megatron-DeepSpeed's arguments, reads its .bin/.idx and data-path files and writes its
checkpoints, TensorBoard events and log lines. Run it again with the same arguments and --load to
resume from the last checkpoint; with another --global-batch-size it trains the samples that are
left, and what would change their order is refused. Between it and Megatron-DeepSpeed a run goes on
with --no-load-optim --no-load-rng, in either direction. It ends with exit code 0 at the last sample
and after --exit-duration-in-mins, --exit-interval, --kill-switch-path or SIGTERM, each of which
saves first.

examples:
  tools/pretrain_gpt.py --num-layers 4 --hidden-size 128 --num-attention-heads 4 \\
    --seq-length 256 --max-position-embeddings 256 --micro-batch-size 8 --train-samples 2000 \\
    --lr 2e-3 --min-lr 2e-4 --lr-decay-style cosine --lr-warmup-samples 100 \\
    --vocab-file vocab.json --merge-file merges.txt \\
    --train-weighted-split-paths-path train.txt --valid-weighted-split-paths-path valid.txt \\
    --save checkpoints --load checkpoints --save-interval 50 \\
    --log-interval 10 --eval-interval 50 --eval-iters 5
  torchrun --standalone --nproc_per_node=2 tools/pretrain_gpt.py …
  tools/pretrain_gpt.py … --dump-samples 8 samples.npz        the first samples, as token ids
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import logging
import os
import sys
import time

from encore import cli
from encore.train import arguments, launcher


class _TrainerLog(logging.Handler):
    """The trainer's log lines are data, on stdout at once; its warnings are talk, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            cli.warn(record.getMessage())
        else:
            print(record.getMessage(), flush=True)


def show_trainer_log() -> None:
    """Install the trainer's handler in place of the one that all commands share."""
    log = logging.getLogger("encore.train")
    log.handlers = [_TrainerLog()]
    log.setLevel(logging.INFO)
    log.propagate = False


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    arguments.add_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    started = time.monotonic()
    # threads that spin at a barrier stall each other on a machine that does anything else:
    # ten times slower, measured
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    world_size = launcher.place().size
    args = arguments.parse(build_parser(), sys.argv[1:] if argv is None else argv, world_size)
    if args.dump_samples:
        from encore.train import datasets

        count, path = datasets.dump(args)
        cli.say(f"wrote {count} samples of each data set to {path}")
        return 0
    # torch takes seconds to import, and --help and a wrong argument need not wait for it
    from encore.train import loop

    show_trainer_log()
    loop.pretrain(args, started)
    if world_size > 1:
        # gloo's threads may still hold tensors and, asking for the GIL while Python ends, abort
        # a run that has finished (seen with torch 2.13; pytorch pull request 179291)
        sys.stdout.flush()
        os._exit(0)
    return 0


if __name__ == "__main__":
    cli.run(main, extra="train")
