#!/usr/bin/env python3
"""Write text with a trained model: read a checkpoint and continue a prompt.

Reads checkpoints of the built-in trainer and of Megatron-DeepSpeed (GPT with learned positions), without executing
anything that they hold. The continued text goes to stdout.

examples:
  tools/sample_text.py checkpoints --tokenizer tokenizers/gpt2 --prompt "The function returns"
  tools/sample_text.py checkpoints/global_step500 --tokenizer tokenizers/gpt2 --tokens 200 --temperature 1 --seed 7
  tools/sample_text.py checkpoints --tokenizer tokenizers/gpt2 --prompt "The" --temperature 0 --json
"""

import argparse
from pathlib import Path

from encore import cli
from encore.errors import UsageError
from encore.tokens import tokenizer as tokenizer_files


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "checkpoint", type=Path, help="a global_stepN folder, or the folder of several"
    )
    parser.add_argument(
        "--tokenizer",
        required=True,
        help="folder or name of the tokenizer that it was trained with",
    )
    parser.add_argument("--prompt", default="", help="default: the beginning of a document")
    parser.add_argument("--tokens", type=int, default=100, help="at most so many; default: 100")
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0 takes the likeliest; default: 0.8"
    )
    parser.add_argument(
        "--top-k", type=int, default=50, help="draw from the likeliest so many; default: 50"
    )
    parser.add_argument("--seed", type=int, default=1234, help="default: 1234")
    parser.add_argument("--json", action="store_true", help="prompt, text and token ids as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    if args.tokens < 1 or args.top_k < 1 or args.temperature < 0:
        raise UsageError(
            "--tokens and --top-k must be at least 1, --temperature at least 0", "change them"
        )
    from encore.checkpoints import generate  # torch takes seconds, for which --help need not wait

    tokenizer = tokenizer_files.load(args.tokenizer)
    sampling = generate.Sampling(args.tokens, args.temperature, args.top_k, args.seed)
    text, ids = generate.text(generate.load(args.checkpoint), tokenizer, args.prompt, sampling)
    if args.json:
        cli.print_json({"prompt": args.prompt, "text": text, "token_ids": ids, "seed": args.seed})
    else:
        print(args.prompt + text)
    return 0


if __name__ == "__main__":
    cli.run(main)
