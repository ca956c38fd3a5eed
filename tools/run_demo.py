#!/usr/bin/env python3
"""Take real text to a trained model on this machine, in minutes, without Slurm or a GPU.

Runs every step of the kit and prints each command before it runs. Existing results are reused;
delete the folder to start over.

examples:
  tools/run_demo.py                     500k parameters, 500k tokens, 100k unique ones, into demo/
  tools/run_demo.py 1m1m400k --folder /tmp/demo
  tools/run_demo.py --data-only --workspace ~/encore     only the inputs of a job in that workspace
"""

if __name__ == "__main__":
    # first: an interrupt while the rest is loaded is one line too
    from encore import interrupts

    interrupts.end_at_once()

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True)
class DemoFiles:
    """Where the demo keeps its results; what belongs to the run lies where the plan says."""

    text: Path
    held_out_text: Path
    tokenizer: Path
    data: Path
    tensorboard: Path
    checkpoint: Path
    transformers: Path
    loss_picture: Path
    curves_page: Path


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = cli.parser(__doc__)
    parser.add_argument(
        "name", nargs="?", default="500k500k100k", help="a laptop-sized run; default: 500k500k100k"
    )
    parser.add_argument("--folder", type=human.path, default=Path("demo"), help="default: demo")
    parser.add_argument(
        "--workspace",
        type=human.path,
        metavar="DIR",
        help="folder of data, checkpoints and logs; default: workspace in --folder",
    )
    parser.add_argument(
        "--data-only",
        action="store_true",
        help="end when text, tokenizer and tokens are there; needs no extra but data",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command; see the exit codes in encore.cli."""
    args = build_parser().parse_args(argv)
    workspace = args.workspace or args.folder / "workspace"
    plan = resolve.resolve(Request(args.name, "local", workspace=str(workspace)), UserConfig())
    files = DemoFiles(
        text=args.folder / "pydocs.jsonl",
        held_out_text=args.folder / "pydocs_validation.jsonl",
        tokenizer=workspace / "tokenizers" / plan.data.tokenizer.name,
        data=Path(plan.paths.data),
        tensorboard=Path(plan.paths.tensorboard),
        checkpoint=Path(plan.paths.checkpoints) / f"global_step{plan.training.steps}",
        transformers=args.folder / "transformers",
        loss_picture=args.folder / "loss.png",
        curves_page=args.folder / "curves.html",
    )
    # before the work: where this fails, nothing else has to
    args.folder.mkdir(parents=True, exist_ok=True)
    write_text_and_tokenizer(plan, files)
    tokenize(plan, files)
    if args.data_only:
        return 0
    if not files.checkpoint.exists():
        title("Train: render the job script for this machine, and run it")
        run_script("render_sbatch.py", plan.name, "--cluster", "local", "--workspace", workspace)
    draw(plan, files)
    title("Sample from the model")
    run("sample_text.py", files.checkpoint, "--tokenizer", files.tokenizer, "--prompt", _PROMPT)
    convert(files)
    title("Results")
    print(comparison(plan, files))
    print()
    print(contents(files))
    return 0


def write_text_and_tokenizer(plan: Plan, files: DemoFiles) -> None:
    """Write the text, and train a tokenizer on it of the size that the run's registry entry has."""
    if not files.text.exists():
        title("Collect text: Python's own documentation")
        count = python_docs.write_jsonl(files.text)
        cli.say(f"{files.text}: {count:,} documents")
    # vocab.json is written last
    if not (files.tokenizer / "vocab.json").exists():
        from encore.tokens import train_bpe

        title("Train a tokenizer on it")
        vocabulary = plan.data.tokenizer.vocabulary
        train_bpe.train(files.text, files.tokenizer, vocabulary)
        cli.say(f"{files.tokenizer}: {vocabulary:,} tokens")


def tokenize(plan: Plan, files: DemoFiles) -> None:
    """Tokenize the head of the text for training and its tail for validation."""
    training = files.data / plan.data.train.parts[0].prefix
    if not training.with_name(f"{training.name}.idx").exists():
        title("Tokenize the training data: the first documents, up to the run's unique tokens")
        tokenize_file(files.text, training, files, "--tokens", plan.unique_tokens)
    validation = files.data / plan.data.valid[0].parts[0].prefix
    if not validation.with_name(f"{validation.name}.idx").exists():
        title("Tokenize the validation data: the last documents, held out")
        run(
            "prepare_corpus.py",
            *("subset", files.text, "--tail", _HELD_OUT_DOCUMENTS),
            *("--output", files.held_out_text),
        )
        tokenize_file(files.held_out_text, validation, files)


def tokenize_file(text: Path, prefix: Path, files: DemoFiles, *limit: object) -> None:
    """Tokenize a file into PREFIX.bin and PREFIX.idx."""
    # prepare_corpus.py appends the field's name itself, as Megatron's own tool does
    output = str(prefix).removesuffix("_text_document")
    run(
        "prepare_corpus.py",
        *("tokenize", text, "--tokenizer", files.tokenizer),
        *("--output-prefix", output, "--append-eod", *limit),
    )


def draw(plan: Plan, files: DemoFiles) -> None:
    """Draw the losses as a picture, and all curves as a page."""
    style = ["--x", "tokens", "--unique-tokens", plan.unique_tokens, "--smoothing", _SMOOTHING]
    title("Draw the losses, with a line where each epoch ends")
    run(
        "export_tensorboard.py",
        *(files.tensorboard, "--losses", *style, "--out", files.loss_picture),
    )
    run("export_tensorboard.py", files.tensorboard, *style, "--out", files.curves_page)


def convert(files: DemoFiles) -> None:
    """Convert the checkpoint for transformers, and compare the two."""
    title("Convert the checkpoint for transformers, and verify that the logits are the same")
    if not files.transformers.exists():
        run(
            "convert_checkpoint.py",
            *("to-transformers", files.checkpoint, files.transformers),
            *("--tokenizer", files.tokenizer),
        )
    run("convert_checkpoint.py", "verify", files.checkpoint, files.transformers)


def title(text: str) -> None:
    """Say what the next commands do."""
    cli.say(f"\n# {text}")


def run(tool: str, *arguments: object) -> None:
    """Show a command as a user would type it, then run it. Raises EncoreError if it fails."""
    words = [str(argument) for argument in arguments]
    cli.say(f"$ tools/{tool} {shlex.join(words)}")
    result = subprocess.run([sys.executable, str(_TOOLS / tool), *words], check=False)
    _check(tool, result.returncode)


def run_script(tool: str, *arguments: object) -> None:
    """Like `run`, and pipe the script that the command prints into bash."""
    words = [str(argument) for argument in arguments]
    cli.say(f"$ tools/{tool} {shlex.join(words)} | bash")
    script = subprocess.run(
        [sys.executable, str(_TOOLS / tool), *words], check=False, stdout=subprocess.PIPE
    )
    _check(tool, script.returncode)
    # The script looks for the kit's .venv; the demo may run in another environment.
    environment = {"ENCORE_PYTHON": sys.executable, **os.environ}
    result = subprocess.run(["bash"], input=script.stdout, env=environment, check=False)
    _check(f"{tool} | bash", result.returncode)


def _check(command: str, code: int) -> None:
    if code:
        raise EncoreError(
            f"tools/{command} failed with exit code {code}",
            "fix what it reports above, then run the demo again: it resumes at this step",
        )


def comparison(plan: Plan, files: DemoFiles) -> str:
    """The plan's predictions against what was measured, and the final losses."""
    from encore.curves import losses
    from encore.curves.curve import moving_average

    training = losses.training_curve(files.tensorboard)
    # Measured between the first and the last logged step; predictions are scaled to these tokens.
    seconds = training.times_s[-1] - training.times_s[0]
    tokens = training.tokens[-1] - training.tokens[0]
    share = tokens / plan.training.tokens
    flops = plan.cost.flops_exact * share
    planned_seconds = plan.cost.hours * 3600 * share
    checkpoint_bytes = 0
    for path in files.checkpoint.rglob("*"):
        if path.is_file():
            checkpoint_bytes += path.stat().st_size
    rows = [
        ("training time", human.duration(planned_seconds), human.duration(seconds)),
        ("tokens/s", f"{tokens / planned_seconds:,.0f}", f"{tokens / seconds:,.0f}"),
        ("FLOP/s", f"{flops / planned_seconds:.2g}", f"{flops / seconds:.2g}"),
        (
            "checkpoint",
            human.byte_size(plan.cost.checkpoint_bytes),
            human.byte_size(checkpoint_bytes),
        ),
    ]
    smoothed = moving_average(training.losses, _SMOOTHING)[-1]
    final_losses = [f"training loss {smoothed:.3f}"]
    for curve in losses.validation_curves(files.tensorboard):
        final_losses.append(f"{curve.label} loss {curve.losses[-1]:.3f}")
    table = human.table(rows, ("", "planned", "measured"))
    return f"{table}\n\n{', '.join(final_losses)} after {plan.epochs:g} epochs"


def contents(files: DemoFiles) -> str:
    """Where everything lies."""
    return human.table(
        [
            ("text", files.text),
            ("tokenized data", f"{files.data}/"),
            ("checkpoint", f"{files.checkpoint}/"),
            ("model for transformers", f"{files.transformers}/"),
            ("losses", files.loss_picture),
            ("all curves", files.curves_page),
        ]
    )


if __name__ == "__main__":
    cli.run(main, extra="train,convert,analysis")
