"""Training speed against transformers.Trainer with GPT2LMHeadModel; goal: 1.3 times its tokens/s.

Same model, batch, sequence length, vocabulary, dropout (0.1, GPT-2's default), AdamW, clipping,
fp32 and machine; the Trainer with its defaults, logging and saving off. Each contestant runs in its
own process, in turn, twice; a figure is its fastest step after the first ones, which other work on
the machine disturbs least.

    python tests/bench/bench_trainer.py
    python tests/bench/bench_trainer.py --size 128,4,4,256,4096,16 --bf16      see SIZES
"""

import argparse
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_WARM_UP, _STEPS, _ROUNDS = 3, 8, 2

# hidden size, layers, heads, sequence length, vocabulary, batch
SIZES = (
    (80, 4, 5, 256, 2048, 8),
    (128, 4, 4, 256, 4096, 16),
    (256, 4, 4, 512, 8192, 8),
    (256, 4, 4, 512, 50304, 4),
    (512, 4, 8, 1024, 8192, 4),
    (512, 6, 8, 512, 50304, 4),
)
Size = tuple[int, int, int, int, int, int]


def ours(size: Size, bf16: bool, deepspeed: bool = False) -> list[float]:
    """When each step of the built-in trainer ended."""
    sys.path[:0] = [str(_ROOT / "tools"), str(_ROOT / "tests")]
    import numpy as np
    import pretrain_gpt
    from encore.tokens.indexed import IndexedWriter
    from encore.train import arguments, loop
    from helpers.trainer_lines import trainer_log

    hidden, layers, heads, length, vocabulary, batch = size
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        tokens = np.random.default_rng(0).integers(vocabulary, size=length * batch * 20)
        with IndexedWriter(data, np.uint16) as writer:
            writer.add(tokens.astype(np.uint16))
        (Path(folder) / "train.txt").write_text(f'"train: 1 0:1 {data}"\n')
        (Path(folder) / "vocab.json").write_text(json.dumps({str(n): n for n in range(vocabulary)}))
        (Path(folder) / "deepspeed.json").write_text(json.dumps(_configuration(batch, bf16)))
        samples = batch * (_WARM_UP + _STEPS)
        argv = f"""--hidden-size {hidden} --num-layers {layers} --num-attention-heads {heads}
            --seq-length {length} --max-position-embeddings {length} --micro-batch-size {batch}
            --train-samples {samples} --lr 1e-4 --weight-decay 0.1 --log-interval 1
            --eval-iters 0 --merge-file none --vocab-file {folder}/vocab.json
            --train-weighted-split-paths-path {folder}/train.txt""".split()
        if deepspeed:
            argv += ["--deepspeed", "--deepspeed_config", f"{folder}/deepspeed.json"]
        if bf16:
            argv.append("--bf16")
        args = arguments.parse(pretrain_gpt.build_parser(), argv, 1)
        with trainer_log(lambda line: ends.append(time.perf_counter())):
            loop.pretrain(args, time.monotonic())
    return ends


def _configuration(batch: int, bf16: bool) -> dict[str, object]:
    sizes = {
        "train_micro_batch_size_per_gpu": batch,
        "train_batch_size": batch,
        "gradient_clipping": 1.0,
    }
    return sizes | {
        "zero_optimization": {"stage": 1},
        "bf16": {"enabled": bf16},
        "steps_per_print": 10**6,
    }


def theirs(size: Size, bf16: bool) -> list[float]:
    """When each step of transformers.Trainer ended."""
    import torch
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    hidden, layers, heads, length, vocabulary, batch = size
    special = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(
        n_embd=hidden,
        n_layer=layers,
        n_head=heads,
        n_positions=length,
        vocab_size=vocabulary,
        **special,
    )
    generator = torch.Generator().manual_seed(0)
    samples = torch.randint(
        0, vocabulary, (batch * (_WARM_UP + _STEPS), length), generator=generator
    )
    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: object, **kwargs: object) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            max_steps=_WARM_UP + _STEPS,
            per_device_train_batch_size=batch,
            learning_rate=1e-4,
            weight_decay=0.1,
            bf16=bf16,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        data = [{"input_ids": sample, "labels": sample} for sample in samples]
        Trainer(GPT2LMHeadModel(config), settings, train_dataset=data, callbacks=[Clock()]).train()
    return ends


CONTESTANTS: dict[str, Callable[[Size, bool], list[float]]] = {
    "transformers.Trainer": theirs,
    "pretrain_gpt": ours,
    "pretrain_gpt --deepspeed": lambda size, bf16: ours(size, bf16, deepspeed=True),
}


def measured(name: str, size: Size, bf16: bool) -> float:
    """Tokens/s of one contestant in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--size", ",".join(map(str, size))]
    if bf16:
        command.append("--bf16")
    ended = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return float(ended.stdout.splitlines()[-1])


def one(name: str, size: Size, bf16: bool) -> float:
    """Tokens/s of one contestant in this process."""
    with contextlib.redirect_stdout(sys.stderr):
        ends = CONTESTANTS[name](size, bf16)[_WARM_UP - 1 :]
    seconds = min(b - a for a, b in itertools.pairwise(ends))
    return size[3] * size[5] / seconds


def main() -> None:
    """Print tokens/s of all contestants and the ratios to the peer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--size",
        type=lambda text: tuple(map(int, text.split(","))),
        help="hidden,layers,heads,sequence,vocabulary,batch",
    )
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(one(args.one, args.size, args.bf16))
        return
    for size in [args.size] if args.size else SIZES:
        best = dict.fromkeys(CONTESTANTS, 0.0)
        for _ in range(_ROUNDS):
            for name in CONTESTANTS:
                best[name] = max(best[name], measured(name, size, args.bf16))
        print(
            "hidden {}, layers {}, heads {}, sequence {}, vocabulary {}, batch {}".format(*size),
            flush=True,
        )
        for name, rate in best.items():
            print(
                f"  {name:26}{rate:9,.0f} tokens/s{rate / best['transformers.Trainer']:7.2f} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
