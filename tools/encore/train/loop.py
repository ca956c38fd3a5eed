"""Training from the first step, or the last checkpoint, to the last: evaluations, saves, exits.

source: TurkuNLP 6732bc9 megatron/training.py (pretrain, train, evaluate)
"""

import argparse
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encore import files
from encore.checkpoints import step_folder
from encore.errors import CheckpointError
from encore.train import datasets, samples, state
from encore.train.datasets import Datasets
from encore.train.logs import Logs, StepResult
from encore.train.samples import Dataset
from encore.train.state import TrainingRun
from encore.train.stops import Stops, dated
from encore.train.world import process_group

log = logging.getLogger(__name__)


def pretrain(args: argparse.Namespace, started: float) -> None:
    """Train as the arguments say, to the end or to a reason to stop; both are success.

    started: time.monotonic() at the program's start. Raises the errors of encore.errors.
    """
    with contextlib.ExitStack() as stack:
        stops = stack.enter_context(Stops(args, started).listening())
        world = stack.enter_context(process_group(args.distributed_backend, args.deepspeed))
        first = world.rank == 0
        if not first:
            # every process logs the same; errors still come from each
            logging.getLogger("encore.train").setLevel(logging.ERROR)
        kill_switch = stops.kill_switch()
        if kill_switch:
            log.info("%s", dated(kill_switch))
            return
        configuration = state.deepspeed_configuration(args) if args.deepspeed else None
        data = datasets.build(args)
        # two runs in one folder would delete each other's unfinished checkpoints
        if first and args.save:
            stack.enter_context(files.exclusive(args.save / "latest"))
        step = _checkpoint_to_load(args)
        if step is not None and not args.finetune and not args.eval_only:
            state.check_continues(step, args, data.train)
        run = state.start(args, world, step, configuration)
        logs = None
        if first:
            logs = Logs(args, run.model.config.parameters_without_embeddings)
            stack.callback(logs.close)
        _Loop(run, data, logs, stops).run()


def _checkpoint_to_load(args: argparse.Namespace) -> Path | None:
    if args.load is None:
        return None
    newest = step_folder.newest(args.load, optimizer=not (args.finetune or args.no_load_optim))
    for problem in newest.passed_over:
        log.warning("%s", problem)
    if newest.step:
        log.info("loading checkpoint %s", newest.step)
        return newest.step
    if newest.passed_over:
        # starting anew would replace them one by one
        raise CheckpointError(
            f"none of the checkpoints in {args.load} can be resumed",
            "see the warnings above; delete torn ones with"
            f" tools/prune_checkpoints.py {args.load} --delete, or start anew with another --save",
        )
    # a first start has --load and --save alike, and nothing there yet
    if args.load != args.save:
        raise CheckpointError(
            f"no complete checkpoint in {args.load}",
            "give --load a folder that holds global_step folders, or leave it out to start anew",
        )
    log.info("no checkpoint in %s: starting at step 0", args.load)
    return None


class _Loop:
    def __init__(self, run: TrainingRun, data: Datasets, logs: Logs | None, stops: Stops) -> None:
        self._run = run
        self._args = run.args
        self._progress = run.progress
        self._data = data
        self._logs = logs
        self._stops = stops
        # a finished run that is started again does not write its last checkpoint anew
        self._saved_at = run.progress.iteration if run.args.load == run.args.save else None
        consumed = run.progress.valid_samples // max(1, len(data.valid))
        self._valid = {name: self._in_turn(dataset, consumed) for name, dataset in data.valid}

    def run(self) -> None:
        """Train, evaluate and save; after a reason to stop, only save."""
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
        args = self._args
        progress = self._progress
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
            reason = self._stops.reason(progress.iteration)
            # a signal or the clock may reach one process a step before the others
            if self._run.world.any(reason is not None):
                if args.save:
                    self._save()
                log.info("%s", dated(reason or "exiting with another process"))
                return False
        return True

    def _step(self, batches: Iterator[Tensor]) -> None:
        run = self._run
        progress = self._progress
        torch.manual_seed(_step_seed(self._args.seed, progress.iteration, run.world.rank))
        count = self._micro_batches_per_step()
        rate = run.schedule.rate(progress.train_samples)
        loss, norm = run.engine.step(_next(count, batches), count, rate)
        progress.iteration += 1
        progress.train_samples += self._args.global_batch_size
        # for the log alone: gradients have been averaged already
        run.world.mean_(loss)
        if self._logs:
            next_rate = run.schedule.rate(progress.train_samples)
            self._logs.step(StepResult(loss, norm, next_rate), progress)

    def _micro_batches_per_step(self) -> int:
        """Micro-batches that this process takes for one global batch."""
        samples_per_pass: int = self._args.micro_batch_size * self._run.world.size
        batch: int = self._args.global_batch_size
        return batch // samples_per_pass

    @torch.no_grad()
    def _evaluate(self, name: str, batches: Iterator[Tensor], where: str) -> None:
        run = self._run
        count = self._args.eval_iters * self._micro_batches_per_step()
        # no dropout; the training step after it seeds its own
        run.model.eval()
        total = torch.zeros((), device=run.world.device)
        for batch in _next(count, batches):
            total += run.model(batch[:, :-1], batch[:, 1:])
        run.model.train()
        self._progress.valid_samples += self._args.eval_iters * self._args.global_batch_size
        run.world.mean_(total)
        if self._logs:
            self._logs.validation(name, where, (total / count).item(), self._progress)

    def _save(self) -> None:
        iteration = self._progress.iteration
        if iteration == self._saved_at:
            return
        if self._logs:
            # weights that a loss of NaN has spoilt must not replace a good checkpoint
            self._logs.check()
        folder = self._args.save
        log.info("saving checkpoint at iteration %7d to %s", iteration, folder)
        state.save(self._run)
        self._saved_at = iteration
        log.info("  successfully saved checkpoint at iteration %7d to %s", iteration, folder)

    def _in_turn(self, dataset: Dataset, consumed: int) -> Iterator[Tensor]:
        """Batches of validation, anew from the first where a resumed run evaluates more often."""
        yield from self._batches(dataset, consumed)
        while True:
            yield from self._batches(dataset, 0)

    def _batches(self, dataset: Dataset, consumed: int) -> Iterator[Tensor]:
        world = self._run.world
        size = self._args.micro_batch_size
        for batch in samples.batches(dataset, consumed, size, world.rank, world.size):
            yield torch.from_numpy(batch).to(world.device, non_blocking=True)


def _next(count: int, batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """The next `count` batches, of which there are enough."""
    for _ in range(count):
        yield next(batches)


def _step_seed(seed: int, iteration: int, rank: int) -> int:
    """The seed of a step's dropout, of these alone: a resumed run draws what one run would have."""
    return int(np.random.SeedSequence([seed, iteration, rank]).generate_state(1)[0])
