#!/usr/bin/env python3
"""Train a GPT on this machine, on CPU or GPUs: the built-in trainer.

Takes Megatron-DeepSpeed's arguments, reads its .bin/.idx and data-path files and writes its checkpoints, TensorBoard
events and log lines. Run it again with the same arguments and --load to go on from the last checkpoint. It ends with
exit code 0 at the last sample and after --exit-duration-in-mins, --exit-interval, --kill-switch-path or SIGTERM, each
of which saves first.

examples:
  tools/pretrain_gpt.py --num-layers 4 --hidden-size 128 --num-attention-heads 4 --seq-length 256 \\
    --max-position-embeddings 256 --micro-batch-size 8 --train-samples 2000 --lr 2e-3 --min-lr 2e-4 \\
    --lr-decay-style cosine --lr-warmup-samples 100 --vocab-file vocab.json --merge-file merges.txt \\
    --train-weighted-split-paths-path train.txt --valid-weighted-split-paths-path valid.txt \\
    --save checkpoints --load checkpoints --save-interval 50 --log-interval 10 --eval-interval 50 --eval-iters 5
  torchrun --standalone --nproc_per_node=2 tools/pretrain_gpt.py …
  tools/pretrain_gpt.py … --dump-samples 8 samples.npz        what it would train on, as token ids
"""

import argparse
import os
import sys
import time

from encore import cli
from encore.train import arguments, datasets


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    return arguments.build_parser(__doc__)


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    started = time.monotonic()
    # threads that spin at a barrier stall each other on a machine that does anything else: ten times slower, measured
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    world_size = int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun or the job
    args = arguments.parse(build_parser(), sys.argv[1:] if argv is None else argv, world_size)
    if args.dump_samples:
        count, path = datasets.dump(args)
        cli.say(f"wrote {count} samples of each data set to {path}")
        return 0
    from encore.train import (
        loop,
    )  # torch takes seconds, for which --help and a wrong argument need not wait

    loop.pretrain(args, started, loop.Talk(say=lambda line: print(line, flush=True), warn=cli.warn))
    if world_size > 1:
        # gloo's threads may still hold tensors and, asking for the GIL while Python ends, abort a run that is done
        # (seen with torch 2.13; pytorch pull request 179291)
        sys.stdout.flush()
        os._exit(0)
    return 0


if __name__ == "__main__":
    cli.run(main)
