#!/usr/bin/env python3
"""Write text with a trained model: read a checkpoint and continue a prompt.

Reads checkpoints of the built-in trainer and of Megatron-DeepSpeed (GPT with learned positions),
without executing anything in them. The prompt and its continuation go to stdout.

examples:
  tools/sample_text.py checkpoints --tokenizer tokenizers/gpt2 --prompt "The function returns"
  tools/sample_text.py checkpoints/global_step500 --tokenizer tokenizers/gpt2 --tokens 200 --seed 7
  tools/sample_text.py checkpoints --tokenizer tokenizers/gpt2 --temperature 0 --json
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse

from encore import cli, human
from encore.errors import UsageError

# below it, logits divided by it leave the range of fp32
_LEAST_TEMPERATURE = 1e-6


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__, may_be_empty=["--prompt"])
    parser.add_argument(
        "checkpoint",
        type=human.path,
        help="a global_stepN folder, or a folder of several: the newest complete one",
    )
    parser.add_argument(
        "--tokenizer",
        type=human.name,
        required=True,
        help="folder, or name on the Hub, of the tokenizer that the model was trained with",
    )
    parser.add_argument("--prompt", default="", help="default: the beginning of a document")
    parser.add_argument(
        "--tokens",
        type=human.integer,
        default=100,
        metavar="N",
        help="at most N tokens; default: 100",
    )
    parser.add_argument(
        "--temperature",
        type=human.number,
        default=0.8,
        metavar="T",
        help="0 picks the likeliest token; default: 0.8",
    )
    parser.add_argument(
        "--top-k",
        type=human.integer,
        default=50,
        metavar="K",
        help="draw from the K likeliest tokens; default: 50",
    )
    parser.add_argument("--seed", type=human.integer, default=1234, help="default: 1234")
    parser.add_argument(
        "--json", action="store_true", help="print prompt, text and token ids as JSON"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    for option, value, least in (
        ("--tokens", args.tokens, 1),
        ("--top-k", args.top_k, 1),
    ):
        if value < least:
            raise UsageError(f"{option} {value} is too small", f"give {least} or more")
    if 0 < args.temperature < _LEAST_TEMPERATURE:
        raise UsageError(
            f"--temperature {args.temperature} is too small",
            f"give 0 for the likeliest token, or {_LEAST_TEMPERATURE} or more",
        )
    # torch takes seconds to import, which --help and a wrong argument need not wait for
    from encore.checkpoints import generate
    from encore.tokens.tokenizer import load

    tokenizer = load(args.tokenizer)
    sampling = generate.Sampling(args.tokens, args.temperature, args.top_k, args.seed)
    model = generate.load(args.checkpoint)
    text, ids = generate.text(model, tokenizer, args.prompt, sampling)
    if args.json:
        cli.print_json({"prompt": args.prompt, "text": text, "token_ids": ids, "seed": args.seed})
    else:
        print(args.prompt + text)
    return 0


if __name__ == "__main__":
    cli.run(main, extra="convert")
