"""Training from the first step, or the last saved one, to the last: steps, evaluations, checkpoints, exits.

source: TurkuNLP 6732bc9 megatron/training.py (pretrain, train, evaluate)
"""

import argparse
import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encore import files
from encore.checkpoints import step_folder
from encore.errors import CheckpointError, DataError
from encore.train import datasets, samples, state, world
from encore.train.datasets import Datasets
from encore.train.logs import Logs, Step
from encore.train.samples import Dataset
from encore.train.state import Run
from encore.train.stops import Stops, dated


@dataclass(frozen=True)
class Talk:
    """Where the lines go: the log, and what the user should read."""

    say: Callable[[str], None]
    warn: Callable[[str], None]


def pretrain(args: argparse.Namespace, started: float, talk: Talk) -> None:
    """Train as the arguments say, to the end or to a reason to stop; both are success.

    started: time.monotonic() at the program's start. Raises the errors of encore.errors.
    """
    with contextlib.ExitStack() as stack:
        stops = stack.enter_context(Stops(args, started).listening())
        joined = stack.enter_context(
            world.joined(args.distributed_backend, group_even_alone=args.deepspeed)
        )
        first = joined.rank == 0
        say, warn = (talk.say, talk.warn) if first else (_silent, _silent)
        if words := stops.kill_switch():
            say(dated(words))
            return
        configuration = state.deepspeed_configuration(args) if args.deepspeed else None
        data = datasets.build(args)
        if first and args.save:
            stack.enter_context(files.exclusive(args.save / "latest"))
        run = state.start(args, joined, _checkpoint(args, say, warn), configuration)
        logs = Logs(args, run.model.config.parameters_without_embeddings, say) if first else None
        if logs:
            stack.callback(logs.close)
        _Loop(run, data, logs, stops, say).all()


def _silent(line: str) -> None:
    pass


def _checkpoint(
    args: argparse.Namespace, say: Callable[[str], None], warn: Callable[[str], None]
) -> Path | None:
    if args.load is None:
        return None
    found = step_folder.newest(args.load, optimizer=not (args.finetune or args.no_load_optim))
    for problem in found.passed_over:
        warn(problem)
    if found.step is None and args.load != args.save:
        raise CheckpointError(
            f"no complete checkpoint in {args.load}", "check the path, or leave --load out"
        )
    say(
        f"loading checkpoint {found.step}"
        if found.step
        else f"no checkpoint in {args.load}: starting at step 0"
    )
    return found.step


class _Loop:
    def __init__(
        self, run: Run, data: Datasets, logs: Logs | None, stops: Stops, say: Callable[[str], None]
    ) -> None:
        self._run, self._data, self._logs, self._stops, self._say = run, data, logs, stops, say
        args = self._args = run.args
        self._progress = run.progress
        self._saved_at = run.progress.iteration if args.load == args.save else None
        seen = run.progress.valid_samples // max(1, len(data.valid))
        self._valid = {name: self._batches(dataset, seen) for name, dataset in data.valid}

    def all(self) -> None:
        if not self._args.eval_only and not self._train():
            return
        for name, batches in self._valid.items():
            self._evaluate(name, batches, "the end of training for val data")
        if self._args.save and not self._args.eval_only:
            self._save()
        for name, dataset in self._data.test:
            self._evaluate(name, self._batches(dataset, 0), "the end of training for test data")

    def _train(self) -> bool:
        """To the last step, or False after a reason to stop."""
        args, progress = self._args, self._progress
        if self._logs:
            self._logs.start(progress)
        batches = self._batches(self._data.train, progress.train_samples)
        while progress.iteration < args.train_iters:
            self._step(batches)
            if args.eval_iters and progress.iteration % args.eval_interval == 0:
                for name, valid in self._valid.items():
                    self._evaluate(name, valid, f"iteration {progress.iteration}")
            if args.save and progress.iteration % args.save_interval == 0:
                self._save()
            words = self._stops.reason(progress.iteration)
            if self._run.world.any(words is not None):
                if args.save:
                    self._save()
                self._say(dated(words or "exiting with another process"))
                return False
        return True

    def _step(self, batches: Iterator[Tensor]) -> None:
        args, progress, run = self._args, self._progress, self._run
        torch.manual_seed(_step_seed(args.seed, progress.iteration, run.world.rank))
        count = args.global_batch_size // (args.micro_batch_size * run.world.size)
        rate = run.schedule.rate(progress.train_samples)
        loss, norm = run.engine.step(_exactly(count, batches, "training"), count, rate)
        progress.iteration += 1
        progress.train_samples += args.global_batch_size
        run.world.mean_(loss)
        if self._logs:
            self._logs.step(Step(loss, norm, run.schedule.rate(progress.train_samples)), progress)

    @torch.no_grad()
    def _evaluate(self, name: str, batches: Iterator[Tensor], where: str) -> None:
        args, run = self._args, self._run
        count = args.eval_iters * (
            args.global_batch_size // (args.micro_batch_size * run.world.size)
        )
        run.model.eval()
        total = torch.zeros((), device=run.world.device)
        for batch in _exactly(count, batches, name):
            total += run.model(batch[:, :-1], batch[:, 1:])
        run.model.train()
        self._progress.valid_samples += args.eval_iters * args.global_batch_size
        run.world.mean_(total)
        if self._logs:
            self._logs.validation(name, where, (total / count).item(), self._progress)

    def _save(self) -> None:
        iteration, folder = self._progress.iteration, self._args.save
        if iteration == self._saved_at:
            return
        if self._logs:
            self._logs.check()
        self._say(f"saving checkpoint at iteration {iteration:7d} to {folder}")
        state.save(self._run)
        self._saved_at = iteration
        self._say(f"  successfully saved checkpoint at iteration {iteration:7d} to {folder}")

    def _batches(self, dataset: Dataset, consumed: int) -> Iterator[Tensor]:
        run = self._run
        for batch in samples.batches(
            dataset, consumed, self._args.micro_batch_size, run.world.rank, run.world.size
        ):
            yield torch.from_numpy(batch).to(run.world.device, non_blocking=True)


def _exactly(count: int, batches: Iterator[Tensor], name: str) -> Iterator[Tensor]:
    taken = 0
    for batch in itertools.islice(batches, count):
        taken += 1
        yield batch
    if taken < count:
        raise DataError(
            f"the samples of {name} are used up",
            "keep --eval-interval and --eval-iters when resuming",
        )


def _step_seed(seed: int, iteration: int, rank: int) -> int:
    """Dropout of a step depends on these alone, so that a resumed run draws what the uninterrupted one would."""
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1)[0])
