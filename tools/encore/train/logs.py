"""What a run reports: Megatron-DeepSpeed's log lines and TensorBoard tags, letter for letter.

source: TurkuNLP 6732bc9 megatron/training.py (training_log, evaluate_and_print_results),
megatron/initialize.py
"""

import argparse
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from encore.curves import tags
from encore.errors import EncoreError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """Steps of a run, and samples consumed in training and, over all sets, in validation."""

    iteration: int = 0
    train_samples: int = 0
    valid_samples: int = 0

    def last_iteration(self, train_samples: int, global_batch_size: int) -> int:
        """The run's last step: counted on from here, as a resumed run may have another batch."""
        return self.iteration + (train_samples - self.train_samples) // global_batch_size


@dataclass(frozen=True)
class StepResult:
    """One step's outcome.

    loss: scalar, the mean over all ranks. gradient_norm: scalar, before clipping. learning_rate: of
    the next step, which is the one that Megatron logs.
    """

    loss: Tensor
    gradient_norm: Tensor
    learning_rate: float


class Logs:
    """Logs lines and writes TensorBoard events, on the one rank that has a Logs."""

    def __init__(self, args: argparse.Namespace, parameters: int) -> None:
        """parameters: those outside the embeddings, for the estimate of FLOPs."""
        self._args = args
        self._parameters = parameters
        self._writer: SummaryWriter | None = None
        self._losses: list[Tensor] = []
        self._since = time.monotonic()
        if args.tensorboard_dir:
            # takes a second to import, and is an error where tensorboard is not installed
            from torch.utils import tensorboard

            self._writer = tensorboard.SummaryWriter(
                str(args.tensorboard_dir), max_queue=args.tensorboard_queue_size
            )

    def close(self) -> None:
        """Flush the events."""
        if self._writer:
            self._writer.close()

    def start(self, progress: Progress) -> None:
        """Write the arguments and, as a mark of every start, the number of processes."""
        self._since = time.monotonic()
        if not self._writer:
            return
        for name, value in vars(self._args).items():
            self._writer.add_text(name, str(value), global_step=progress.iteration)
        tag = "iteration-time/world_size"
        self._writer.add_scalar(tag, self._args.world_size, progress.iteration)
        self._writer.add_scalar(tag, 0, progress.iteration + 1)

    def step(self, result: StepResult, progress: Progress) -> None:
        """Record a step; raises EncoreError where a loss is not finite.

        Tensors are read only when a line is due: reading one waits for the device.
        """
        self._losses.append(result.loss)
        if self._writer and progress.iteration % self._args.tensorboard_log_interval == 0:
            self._write_step(result, progress)
        if progress.iteration % self._args.log_interval == 0:
            log.info("%s", self._line(result, progress))
            self._losses.clear()
            self._since = time.monotonic()

    def check(self) -> None:
        """Raise EncoreError where a loss since the last line is not finite."""
        if self._losses and not bool(torch.stack(self._losses).isfinite().all()):
            raise EncoreError(
                "the loss is not a finite number",
                "resume from the last checkpoint with a lower --lr and --override-lr-scheduler",
            )

    def _line(self, result: StepResult, progress: Progress) -> str:
        self.check()
        args = self._args
        loss = torch.stack(self._losses).mean().item()
        seconds = (time.monotonic() - self._since) / len(self._losses)
        if args.log_timers_to_tensorboard:
            self._write_times(seconds, progress)
        fields = (
            f" iteration {progress.iteration:8d}/{args.train_iters:8d}",
            f"consumed samples: {progress.train_samples:12d}",
            f"consumed tokens: {progress.train_samples * args.seq_length:12d}",
            f"elapsed time per iteration (s): {seconds:.2f}",
            f"learning rate: {result.learning_rate:.3E}",
            f"global batch size: {args.global_batch_size:5d}",
            f"lm loss: {loss:.6E}",
            f"grad norm: {result.gradient_norm.item():.3f}",
            # never counted under DeepSpeed, always printed
            "num zeros: 0.0",
            "number of skipped iterations:   0",
            "number of nan iterations:   0",
            f"samples per second: {args.global_batch_size / seconds:.3f}",
            f"TFLOPs: {self.teraflops(seconds):.2f}",
        )
        return " | ".join(fields) + " |"

    def teraflops(self, seconds: float) -> float:
        """TFLOP/s per process as Megatron estimates them, from the seconds of a step.

        source: Narayanan et al. 2021, arXiv:2104.04473, equation 3
        """
        args = self._args
        layers = args.num_layers
        hidden = args.hidden_size
        length = args.seq_length
        # a recomputed forward pass counts here, unlike in plan/sizing.py
        passes = 4 if args.checkpoint_activations else 3
        products = 24 * passes * args.global_batch_size * length * layers * hidden**2
        rest = 1 + length / (6 * hidden) + args.padded_vocab_size / (16 * layers * hidden)
        return float(products * rest / (seconds * args.world_size * 1e12))

    def validation(self, name: str, where: str, loss: float, progress: Progress) -> None:
        """A validation or test loss; `where` names the point of the run."""
        # Megatron's cap, against an overflow early in training
        perplexity = math.exp(min(20, loss))
        line = (
            f"{name} loss at {where} | lm loss value: {loss:.6E} | lm loss PPL: {perplexity:.6E} | "
        )
        rule = "-" * (len(line) + 1)
        log.info("%s", f"{rule}\n{line}\n{rule}")
        tag = tags.VALIDATION_LOSS.format(name)
        self._scalars(tag, loss, progress, flops=True)
        if self._args.log_validation_ppl_to_tensorboard:
            self._scalars(f"{tag} ppl", perplexity, progress, flops=True)

    def _write_step(self, result: StepResult, progress: Progress) -> None:
        args = self._args
        samples = progress.train_samples
        for unit, count in (("samples", samples), ("tokens", samples * args.seq_length)):
            self._scalar(tags.STEPS_VS.format(unit=unit), progress.iteration, count)
            self._scalar(tags.VS_STEPS.format(unit=unit), count, progress.iteration)
        if args.log_learning_rate_to_tensorboard:
            self._scalars("learning-rate/learning-rate", result.learning_rate, progress)
        if args.log_batch_size_to_tensorboard:
            tag = "batch-size/batch-size"
            self._scalars(tag, args.global_batch_size, progress, tokens=False)
        self._scalars(tags.TRAINING_LOSS, result.loss.item(), progress, flops=True)
        self._scalars("grad-norm/grad-norm", result.gradient_norm.item(), progress)
        self._scalars("num-zeros/num-zeros", 0, progress)

    def _write_times(self, seconds: float, progress: Progress) -> None:
        samples = self._args.global_batch_size / seconds
        tokens = samples * self._args.seq_length
        ranks = self._args.world_size
        self._scalars("iteration-time/iteration-time", seconds, progress)
        rates = {
            "samples per second": samples,
            "samples per second per replica": samples / ranks,
            "tokens per second": tokens,
            "tokens per second per replica": tokens / ranks,
            "TFLOPs per gpu (estimated)": self.teraflops(seconds),
        }
        for name, rate in rates.items():
            self._scalar(f"iteration-time/{name}", rate, progress.iteration)

    def _scalars(
        self, tag: str, value: float, progress: Progress, tokens: bool = True, flops: bool = False
    ) -> None:
        """One value against steps, samples and, where Megatron does, tokens and FLOPs."""
        samples = progress.train_samples
        self._scalar(tag, value, progress.iteration)
        self._scalar(tag + tags.SUFFIXES["samples"], value, samples)
        if tokens:
            self._scalar(tag + tags.SUFFIXES["tokens"], value, samples * self._args.seq_length)
        if flops:
            gigaflops = 6 * samples * self._args.seq_length * self._parameters / 1e9
            self._scalar(tag + tags.FLOPS_SUFFIX, value, gigaflops)

    def _scalar(self, tag: str, value: float, at: float) -> None:
        if self._writer:
            self._writer.add_scalar(tag, value, at)
