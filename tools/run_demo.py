#!/usr/bin/env python3
"""Take real text to a trained model on this machine: every step of the kit, in minutes, without Slurm or a GPU.

Prints each command before it runs. What is already there is reused; delete the folder to start over.

examples:
  tools/run_demo.py                                  500k parameters, 500k tokens of 100k unique ones, into demo/
  tools/run_demo.py 1m1m400k --folder /tmp/demo
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from encore import cli, human
from encore.corpus import python_docs
from encore.errors import EncoreError
from encore.plan import resolve
from encore.plan.records import Plan, Request
from encore.plan.user_config import UserConfig

_TOOLS = Path(__file__).resolve().parent
_HELD_OUT_DOCUMENTS = 200
_SMOOTHING = 0.9
_PROMPT = "The function returns"


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "name", nargs="?", default="500k500k100k", help="a laptop-sized run; default: 500k500k100k"
    )
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="default: demo")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    workspace = args.folder / "workspace"
    plan = resolve.resolve(Request(args.name, "local", workspace=str(workspace)), UserConfig())
    text, tokenizer = (
        args.folder / "pydocs.jsonl",
        workspace / "tokenizers" / plan.data.tokenizer.name,
    )
    step = Path(plan.paths.checkpoints) / f"global_step{plan.training.steps}"
    picture, page = args.folder / "loss.png", args.folder / "curves.html"
    converted = args.folder / "transformers"
    if not text.exists():
        cli.say(
            f"# {python_docs.write_jsonl(text):,} documents of Python's own documentation → {text}"
        )
    if not (tokenizer / "vocab.json").exists():
        from encore.tokens import train_bpe  # loads tokenizers, which --help does without

        train_bpe.train(text, tokenizer, plan.data.tokenizer.vocabulary)
        cli.say(f"# a tokenizer of {plan.data.tokenizer.vocabulary:,} tokens → {tokenizer}")
    prepare(plan, text, tokenizer)
    if not step.exists():
        run(
            "render_sbatch.py",
            args.name,
            "--cluster",
            "local",
            "--workspace",
            workspace,
            pipe_to_bash=True,
        )
    drawing = ["--x", "tokens", "--unique-tokens", plan.unique_tokens, "--smoothing", _SMOOTHING]
    run("export_tensorboard.py", plan.paths.tensorboard, "--losses", *drawing, "--out", picture)
    run("export_tensorboard.py", plan.paths.tensorboard, *drawing, "--out", page)
    run("sample_text.py", step, "--tokenizer", tokenizer, "--prompt", _PROMPT)
    if not converted.exists():
        run("convert_checkpoint.py", "to-transformers", step, converted, "--tokenizer", tokenizer)
    run("convert_checkpoint.py", "verify", step, converted)
    made = [
        ("checkpoint", step),
        ("for transformers", f"{converted}/"),
        ("loss curve", picture),
        ("all curves", page),
    ]
    print(summary(plan, step, [("text", text), ("tokenized data", f"{plan.paths.data}/"), *made]))
    return 0


def prepare(plan: Plan, text: Path, tokenizer: Path) -> None:
    """Tokenize the head of the text for training and its tail for validation."""
    held_out = text.with_name("pydocs_validation.jsonl")
    sets = [
        (plan.data.train, text, ["--tokens", plan.unique_tokens]),
        (plan.data.valid[0], held_out, []),
    ]
    for group, source, limit in sets:
        prefix = f"{plan.paths.data}/{group.parts[0].prefix}"
        if Path(f"{prefix}.idx").exists():
            continue
        if source == held_out:
            run(
                "prepare_corpus.py",
                "subset",
                text,
                "--tail",
                _HELD_OUT_DOCUMENTS,
                "--output",
                held_out,
            )
        output = prefix.removesuffix("_text_document")
        run(
            "prepare_corpus.py",
            "tokenize",
            source,
            "--tokenizer",
            tokenizer,
            "--output-prefix",
            output,
            "--append-eod",
            *limit,
        )


def run(tool: str, *arguments: object, pipe_to_bash: bool = False) -> None:
    """Show a command as a user would type it, then run it; raises EncoreError when it fails."""
    words = list(map(str, arguments))
    cli.say(f"\n$ tools/{tool} {shlex.join(words)}{' | bash' if pipe_to_bash else ''}")
    command = [sys.executable, str(_TOOLS / tool), *words]
    if pipe_to_bash:
        script = subprocess.run(command, check=False, stdout=subprocess.PIPE)
        code = (
            script.returncode
            or subprocess.run(["bash"], input=script.stdout, check=False).returncode
        )
    else:
        code = subprocess.run(command, check=False).returncode
    if code:
        raise EncoreError(f"tools/{tool} ended with exit code {code}", "its message is above")


def summary(plan: Plan, step: Path, made: list[tuple[str, object]]) -> str:
    """The plan against what was measured, and where everything that was made lies."""
    from encore.curves import losses
    from encore.curves.curve import moving_average

    training = losses.training_curve(Path(plan.paths.tensorboard))
    valid = losses.validation_curves(Path(plan.paths.tensorboard))
    seconds = training.times_s[-1] - training.times_s[0]
    tokens = training.tokens[-1] - training.tokens[0]
    flops = plan.cost.flops_exact * tokens / plan.training.tokens
    expected = plan.cost.hours * 3600 * tokens / plan.training.tokens
    rows = [
        ("training", human.duration(expected), human.duration(seconds)),
        ("tokens/s", f"{tokens / expected:,.0f}", f"{tokens / seconds:,.0f}"),
        (
            "FLOP/s",
            f"{plan.cost.flops_exact / plan.cost.hours / 3600:.2g}",
            f"{flops / seconds:.2g}",
        ),
        ("checkpoint", human.byte_size(plan.cost.checkpoint_bytes), human.byte_size(size(step))),
    ]
    last = f"training loss {moving_average(training.losses, _SMOOTHING)[-1]:.3f}" + "".join(
        f", {v.label} {v.losses[-1]:.3f}" for v in valid
    )
    return f"\n{human.table(rows, ('', 'plan', 'measured'))}\n\n{last} after {plan.epochs:g} epochs\n\n{human.table(made)}"


def size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    cli.run(main)
