"""The image's own test, run by `%test`: exits with 1 and a reason when the image does not work.

The stack imports; a matrix product is right on the GPU, or on the CPU where there is none; each
training program in the image trains a tiny model for two steps there, on data made by this script.
"""

import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

TRAINERS = Path(__file__).resolve().parents[1] / "trainers"
sys.path.insert(0, str(TRAINERS / "builtin-causal" / "tools"))

from encore.registry.trainers import Pin, Trainer, load_trainers  # noqa: E402
from encore.tokens import indexed  # noqa: E402

STACK = (
    "torch",
    "deepspeed",
    "numpy",
    "transformers",
    "tokenizers",
    "datasets",
    "tensorboard",
    "lm_eval",
    "jinja2",
)
VOCABULARY_SIZE = 300
STEPS = 2
MODEL = """
  --tensor-model-parallel-size 1 --pipeline-model-parallel-size 1
  --num-layers 2 --hidden-size 64 --num-attention-heads 4
  --seq-length 64 --max-position-embeddings 64
  --micro-batch-size 4 --global-batch-size 4 --train-samples 8
  --lr 1e-3 --min-lr 1e-4 --lr-decay-style cosine --lr-decay-samples 8 --clip-grad 1.0 --bf16
  --log-interval 1 --eval-interval 100 --eval-iters 1 --save-interval 100
  --data-impl mmap --zero-stage 1 --deepspeed --deepspeed_config deepspeed.json"""
DEEPSPEED = {
    "train_micro_batch_size_per_gpu": 4,
    "train_batch_size": 4,
    "gradient_clipping": 1.0,
    "zero_optimization": {"stage": 1},
    "bf16": {"enabled": True},
}


def check_stack() -> bool:
    """Import what jobs import and print the versions; True when there is a GPU."""
    for name in STACK:
        module = importlib.import_module(name)
        print(f"{name} {getattr(module, '__version__', '')}")
    import torch

    has_gpu = torch.cuda.is_available()
    device = "cuda" if has_gpu else "cpu"
    ones = torch.ones(64, 64, device=device, dtype=torch.bfloat16)
    if not bool((ones @ ones == 64).all()):
        raise SystemExit(f"error: wrong result of a matrix product on {device}")
    print(f"device {torch.cuda.get_device_name() if has_gpu else 'cpu'}")
    return has_gpu


def make_inputs(folder: Path) -> None:
    """Write a tokenizer in GPT-2's and BERT's formats, a corpus, and the data-path files."""
    import numpy

    words = [f"w{i}" for i in range(VOCABULARY_SIZE - 1)]
    ids = {word: i for i, word in enumerate([*words, "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\nw 0\n")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[R]", "[S]", "[X]"]
    bert_words = [*special, *words[: VOCABULARY_SIZE - len(special)]]
    (folder / "vocab.txt").write_text("\n".join(bert_words) + "\n")

    generator = numpy.random.default_rng(0)
    dtype = indexed.smallest_dtype(VOCABULARY_SIZE)
    with indexed.IndexedWriter(folder / "corpus", dtype) as writer:
        for _ in range(40):
            writer.add(generator.integers(len(special), VOCABULARY_SIZE - 8, size=100))
    (folder / "train.txt").write_text('"train: 1.0 0:0.9 corpus"\n')
    (folder / "valid.txt").write_text('"valid: 1.0 0.9:1.0 corpus"\n')
    (folder / "deepspeed.json").write_text(json.dumps(DEEPSPEED))


def arguments(trainer: Trainer, pin: Pin, has_gpu: bool) -> list[str]:
    """The command line of two steps of a tiny model, in this trainer's arguments."""
    tokenizer = "--vocab-file vocab.json --merge-file merges.txt --tokenizer-type GPT2BPETokenizer"
    if pin.tokenizer_type.startswith("Bert"):
        tokenizer = f"--vocab-file vocab.txt --tokenizer-type {pin.tokenizer_type} {pin.adds}"
    data = "--train-weighted-split-paths-path train.txt --valid-weighted-split-paths-path valid.txt"
    if trainer.data == "data-path":
        data = "--data-path corpus --split 90,10,0"
    backend = "nccl" if has_gpu else "gloo"
    return f"{MODEL} {tokenizer} {data} --distributed-backend {backend}".split()


def environment(has_gpu: bool) -> dict[str, str]:
    """The variables of a job with one rank."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        free_port = probe.getsockname()[1]
    variables = {
        **os.environ,
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(free_port),
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "OMP_NUM_THREADS": "1",
    }
    if not has_gpu:
        variables |= {"ENCORE_COMPAT_CPU": "1", "DS_ACCELERATOR": "cpu"}
    return variables


def train(folder: str, entry: str, args: list[str], has_gpu: bool) -> None:
    """Train for two steps with TRAINERS/`folder`/`entry`; prints the end of its log on failure."""
    with tempfile.TemporaryDirectory() as scratch:
        make_inputs(Path(scratch))
        process = subprocess.run(
            [sys.executable, str(TRAINERS / folder / entry), *args],
            cwd=scratch,
            env=environment(has_gpu),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    steps = 0
    for line in process.stdout.splitlines():
        if "lm loss:" in line and "iteration" in line:
            steps += 1
    if process.returncode or steps < STEPS:
        print(process.stdout[-4000:])
        raise SystemExit(
            f"error: {folder} does not train in this image"
            f" (exit code {process.returncode}, {steps} of {STEPS} steps)"
        )
    libraries = (TRAINERS.parent / "kernels" / folder).glob("*.so")
    kernels = ", ".join(sorted(library.stem for library in libraries))
    print(f"{folder} trains; compiled kernels: {kernels or 'none'}")


def main() -> None:
    """Check everything that this image holds."""
    has_gpu = check_stack()
    installed = ["builtin-causal"]
    listing = TRAINERS / "trainers.json"
    if listing.is_file():
        installed = [*json.loads(listing.read_text()), *installed]
    for folder in installed:
        name, objective = folder.rsplit("-", 1)
        trainer = load_trainers()[name]
        pin = trainer.commits[objective]
        train(folder, pin.entry, arguments(trainer, pin, has_gpu), has_gpu)


if __name__ == "__main__":
    main()
