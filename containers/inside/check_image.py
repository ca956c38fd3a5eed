"""Whether an image works: its `%test`. Exit 1 and a reason if not.

The stack imports; a matrix product runs on the device that is there; each training program in the image takes two steps
of a tiny model on it (on the CPU where there is no GPU), from data that is made here.
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
KIT = TRAINERS / "builtin-causal"
sys.path.insert(0, str(KIT / "tools"))

from encore import indexed, registry  # noqa: E402

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
VOCABULARY = 300
MODEL = """--tensor-model-parallel-size 1 --pipeline-model-parallel-size 1 --num-layers 2 --hidden-size 64
  --num-attention-heads 4 --seq-length 64 --max-position-embeddings 64 --micro-batch-size 4 --global-batch-size 4
  --train-samples 8 --lr 1e-3 --min-lr 1e-4 --lr-decay-style cosine --lr-decay-samples 8 --clip-grad 1.0 --bf16
  --log-interval 1 --eval-interval 100 --eval-iters 1 --save-interval 100 --data-impl mmap --zero-stage 1
  --deepspeed --deepspeed_config deepspeed.json"""
DEEPSPEED = {"train_micro_batch_size_per_gpu": 4, "train_batch_size": 4, "gradient_clipping": 1.0}
DEEPSPEED |= {"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}}


def check_stack() -> bool:
    """Import what jobs import and print the versions; True when there is a GPU."""
    for name in STACK:
        print(f"{name} {getattr(importlib.import_module(name), '__version__', '')}")
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    product = (
        torch.ones(64, 64, device=device, dtype=torch.bfloat16)
        @ torch.ones(64, 64, device=device).bfloat16()
    )
    if not bool((product == 64).all()):
        raise SystemExit(f"error: a matrix product on {device} is wrong")
    print(f"device {torch.cuda.get_device_name() if device == 'cuda' else 'cpu'}")
    return device == "cuda"


def make_inputs(folder: Path) -> None:
    """A tokenizer of letters in both forms, a corpus of 40 documents, and the files that point at it."""
    import numpy

    words = {f"w{i}": i for i in range(VOCABULARY - 1)} | {"<|endoftext|>": VOCABULARY - 1}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\nw 0\n")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[R]", "[S]", "[X]"]
    (folder / "vocab.txt").write_text(
        "\n".join([*special, *list(words)[: VOCABULARY - len(special)]]) + "\n"
    )
    chosen = numpy.random.default_rng(0)
    with indexed.IndexedWriter(folder / "corpus", indexed.smallest_dtype(VOCABULARY)) as writer:
        for _ in range(40):
            writer.add(chosen.integers(8, VOCABULARY - 8, size=100))
    (folder / "train.txt").write_text('"train: 1.0 0:0.9 corpus"\n')
    (folder / "valid.txt").write_text('"valid: 1.0 0.9:1.0 corpus"\n')
    (folder / "deepspeed.json").write_text(json.dumps(DEEPSPEED))


def arguments(trainer: registry.Trainer, pin: registry.Pin, gpu: bool) -> list[str]:
    """The command line of two tiny steps, as this trainer takes it."""
    tokenizer = "--vocab-file vocab.json --merge-file merges.txt --tokenizer-type GPT2BPETokenizer"
    if pin.tokenizer_type.startswith("Bert"):
        tokenizer = f"--vocab-file vocab.txt --tokenizer-type {pin.tokenizer_type} {pin.adds}"
    data = "--train-weighted-split-paths-path train.txt --valid-weighted-split-paths-path valid.txt"
    if trainer.data == "data-path":
        data = "--data-path corpus --split 90,10,0"
    return f"{MODEL} {tokenizer} {data} --distributed-backend {'nccl' if gpu else 'gloo'}".split()


def train(folder: str, entry: str, given: list[str], gpu: bool) -> None:
    """Two steps of one training program; prints its log when it fails."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    # one rank, told what it is as a job's tasks are
    rank = {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": port,
    }
    environment = {**os.environ, **rank, "CUDA_DEVICE_MAX_CONNECTIONS": "1", "OMP_NUM_THREADS": "1"}
    if not gpu:
        environment |= {"ENCORE_COMPAT_CPU": "1", "DS_ACCELERATOR": "cpu"}
    with tempfile.TemporaryDirectory() as where:
        make_inputs(Path(where))
        command = [sys.executable, str(TRAINERS / folder / entry), *given]
        done = subprocess.run(
            command,
            cwd=where,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    steps = [
        line for line in done.stdout.splitlines() if "lm loss:" in line and "iteration" in line
    ]
    if done.returncode or len(steps) < 2:
        print(done.stdout[-4000:])
        raise SystemExit(
            f"error: {folder} does not train in this image (exit {done.returncode}, {len(steps)} steps)"
        )
    kernels = TRAINERS.parent / "kernels" / folder
    print(
        f"{folder} trains; compiled kernels: {', '.join(sorted(p.stem for p in kernels.glob('*.so'))) or 'none'}"
    )


def main() -> None:
    """Check everything that this image holds."""
    gpu = check_stack()
    record = TRAINERS / "trainers.json"
    installed = list(json.loads(record.read_text())) if record.is_file() else []
    for folder in [*installed, "builtin-causal"]:
        name, objective = folder.rsplit("-", 1)
        trainer = registry.trainers()[name]
        pin = trainer.commits[objective]
        train(folder, pin.entry, arguments(trainer, pin, gpu), gpu)


if __name__ == "__main__":
    main()
