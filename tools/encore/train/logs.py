"""What a run says of itself: Megatron-DeepSpeed's log lines and TensorBoard tags, letter for letter.

source: TurkuNLP 6732bc9 megatron/training.py (training_log, evaluate_and_print_results), megatron/initialize.py
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from encore.curves import tags
from encore.errors import EncoreError


@dataclass
class Progress:
    """How far a run is: steps, and samples consumed in training and, over all sets, in validation."""

    iteration: int = 0
    train_samples: int = 0
    valid_samples: int = 0


@dataclass(frozen=True)
class Step:
    """One step's outcome: mean loss over all ranks, gradient norm before clipping, the next step's learning rate."""

    loss: Tensor
    gradient_norm: Tensor
    learning_rate: float


class Logs:
    """Prints through `say` and writes TensorBoard events, from the one rank that is given a Logs."""

    def __init__(
        self, args: argparse.Namespace, parameters: int, say: Callable[[str], None]
    ) -> None:
        """parameters: without the embeddings."""
        self._args, self._say, self._parameters = args, say, parameters
        self._writer = None
        self._losses: list[Tensor] = []
        self._since = time.monotonic()
        if args.tensorboard_dir:
            from torch.utils.tensorboard import (
                SummaryWriter,
            )  # not needed without --tensorboard-dir

            self._writer = SummaryWriter(
                str(args.tensorboard_dir), max_queue=args.tensorboard_queue_size
            )

    def close(self) -> None:
        """Flush the events."""
        if self._writer:
            self._writer.close()

    def start(self, progress: Progress) -> None:
        """The arguments and, as a mark of every start, the number of processes."""
        self._since = time.monotonic()
        if self._writer:
            for name, value in vars(self._args).items():
                self._writer.add_text(name, str(value), global_step=progress.iteration)
            self._writer.add_scalar(
                "iteration-time/world_size", self._args.world_size, progress.iteration
            )
            self._writer.add_scalar("iteration-time/world_size", 0, progress.iteration + 1)

    def step(self, step: Step, progress: Progress) -> None:
        """Note a step; a loss that is not finite ends the run. Values are read only when they are written."""
        self._losses.append(step.loss)
        if self._writer and progress.iteration % self._args.tensorboard_log_interval == 0:
            self._write_step(step, progress)
        if progress.iteration % self._args.log_interval == 0:
            self._say(self._line(step, progress))
            self._losses.clear()
            self._since = time.monotonic()

    def check(self) -> None:
        """Raise EncoreError when a loss since the last line is not finite."""
        if self._losses and not bool(torch.stack(self._losses).isfinite().all()):
            raise EncoreError(
                "the loss is not a finite number",
                "go on from the last checkpoint with a lower --lr",
            )

    def _line(self, step: Step, progress: Progress) -> str:
        self.check()
        args, count = self._args, len(self._losses)
        loss = torch.stack(self._losses).mean().item()
        seconds = (time.monotonic() - self._since) / count
        if self._writer and args.log_timers_to_tensorboard:
            self._write_times(seconds, progress)
        fields = (
            f" iteration {progress.iteration:8d}/{args.train_iters:8d}",
            f"consumed samples: {progress.train_samples:12d}",
            f"consumed tokens: {progress.train_samples * args.seq_length:12d}",
            f"elapsed time per iteration (s): {seconds:.2f}",
            f"learning rate: {step.learning_rate:.3E}",
            f"global batch size: {args.global_batch_size:5d}",
            f"lm loss: {loss:.6E}",
            f"grad norm: {step.gradient_norm.item():.3f}",
            "num zeros: 0.0",  # never counted under DeepSpeed, always printed
            "number of skipped iterations:   0",
            "number of nan iterations:   0",
            f"samples per second: {args.global_batch_size / seconds:.3f}",
            f"TFLOPs: {self.teraflops(seconds):.2f}",
        )
        return " | ".join(fields) + " |"

    def teraflops(self, seconds: float) -> float:
        """TFLOP/s per process as Megatron estimates them (arXiv:2104.04473, eq. 3), from the seconds of a step."""
        args = self._args
        layers, hidden, length = args.num_layers, args.hidden_size, args.seq_length
        passes = 4 if args.checkpoint_activations else 3
        products = 24 * passes * args.global_batch_size * length * layers * hidden**2
        rest = 1 + length / (6 * hidden) + args.padded_vocab_size / (16 * layers * hidden)
        return products * rest / (seconds * args.world_size * 1e12)

    def validation(self, name: str, where: str, loss: float, progress: Progress) -> None:
        """A validation or test loss; `where` says at which point of the run."""
        perplexity = math.exp(min(20, loss))
        line = (
            f"{name} loss at {where} | lm loss value: {loss:.6E} | lm loss PPL: {perplexity:.6E} | "
        )
        rule = "-" * (len(line) + 1)
        self._say(f"{rule}\n{line}\n{rule}")
        tag = tags.VALIDATION_LOSS.format(name)
        self._scalars(tag, loss, progress, flops=True)
        if self._args.log_validation_ppl_to_tensorboard:
            self._scalars(f"{tag} ppl", perplexity, progress, flops=True)

    def _write_step(self, step: Step, progress: Progress) -> None:
        iteration, samples = progress.iteration, progress.train_samples
        tokens = samples * self._args.seq_length
        for unit, count in (("samples", samples), ("tokens", tokens)):
            self._writer.add_scalar(tags.STEPS_VS.format(unit=unit), iteration, count)
            self._writer.add_scalar(tags.VS_STEPS.format(unit=unit), count, iteration)
        if self._args.log_learning_rate_to_tensorboard:
            self._scalars("learning-rate/learning-rate", step.learning_rate, progress)
        if self._args.log_batch_size_to_tensorboard:
            self._scalars(
                "batch-size/batch-size", self._args.global_batch_size, progress, tokens=False
            )
        self._scalars(tags.TRAINING_LOSS, step.loss.item(), progress, flops=True)
        self._scalars("grad-norm/grad-norm", step.gradient_norm.item(), progress)
        self._scalars("num-zeros/num-zeros", 0, progress)

    def _write_times(self, seconds: float, progress: Progress) -> None:
        samples = self._args.global_batch_size / seconds
        tokens, ranks = samples * self._args.seq_length, self._args.world_size
        self._scalars("iteration-time/iteration-time", seconds, progress)
        rates = {
            "samples per second": samples,
            "samples per second per replica": samples / ranks,
            "tokens per second": tokens,
            "tokens per second per replica": tokens / ranks,
            "TFLOPs per gpu (estimated)": self.teraflops(seconds),
        }
        for name, rate in rates.items():
            self._writer.add_scalar(f"iteration-time/{name}", rate, progress.iteration)

    def _scalars(
        self, tag: str, value: float, progress: Progress, tokens: bool = True, flops: bool = False
    ) -> None:
        """One value against steps, samples and, where Megatron does, tokens and FLOPs."""
        if not self._writer:
            return
        samples = progress.train_samples
        self._writer.add_scalar(tag, value, progress.iteration)
        self._writer.add_scalar(tag + tags.SUFFIXES["samples"], value, samples)
        if tokens:
            self._writer.add_scalar(
                tag + tags.SUFFIXES["tokens"], value, samples * self._args.seq_length
            )
        if flops:
            gigaflops = 6 * samples * self._args.seq_length * self._parameters / 1e9
            self._writer.add_scalar(tag + tags.FLOPS_SUFFIX, value, gigaflops)
