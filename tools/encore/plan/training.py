"""How a run is trained: batch, samples and steps, from its name, its regime and the overrides."""

import dataclasses
import math

from encore.errors import UsageError, shortened
from encore.plan.overrides import Overrides
from encore.plan.records import Released, Training
from encore.registry.paper_runs import load_released_steps, load_runs
from encore.registry.regimes import Cadence, Optimizer, Regime, RegimeBatch
from encore.registry.setting import settings_of


def optimizer(regime: Regime, name_seed: int | None, overrides: Overrides) -> Optimizer:
    """The regime's optimizer, with the seed of the run's name and then the overrides."""
    defaults = regime.optimizer
    if name_seed is not None:
        # The paper does not publish the seeds behind seed1 to seed4; here seedN is seed N.
        defaults = dataclasses.replace(defaults, seed=name_seed)
        _check_seed(name_seed)
    result = overrides.apply(defaults)
    if result.min_lr > result.lr:
        raise UsageError(
            f"min_lr {result.min_lr:g} is above lr {result.lr:g}",
            f"--set min_lr={result.lr / 10:g} or lower",
        )
    return result


def _check_seed(seed: int) -> None:
    setting = settings_of(Optimizer)["seed"]
    if not setting.accepts(seed):
        raise UsageError(
            f"the name's seed {shortened(str(seed))} is out of range",
            f"a seed is {setting.range}",
        )


def released_run(name: str, sequence_length: int) -> Released | None:
    """What the released run of this name trained; None where that is not known."""
    record = load_runs().get(name) or load_released_steps().get(name)
    if record is None or record.global_step is None or record.global_batch_size is None:
        return None
    samples = record.train_samples
    if samples is None:
        # known only by its last checkpoint, which is whole steps
        samples = record.global_step * record.global_batch_size
    return Released(
        global_step=record.global_step,
        global_batch_size=record.global_batch_size,
        train_samples=samples,
        tokens=samples * sequence_length,
    )


def released_batch_and_samples(name: str, released: Released | None) -> tuple[int, int]:
    """Global batch size and samples of the released run; raises UsageError where unknown."""
    if released is None:
        raise UsageError(
            f"what the released run {name} trained is not known",
            "leave out --as-released to train what the name says",
        )
    return released.global_batch_size, released.train_samples


def default_batch(batch: RegimeBatch, parameters: int) -> int:
    """The regime's global batch for a model of this many parameters."""
    for size in batch.sizes:
        if size.below_parameters is None or parameters < size.below_parameters:
            return size.sequences
    raise UsageError(f"no batch size for {parameters:,} parameters", "--set global_batch_size=N")


def training(
    batch: int,
    samples: int,
    sequence_length: int,
    run_optimizer: Optimizer,
    cadence: Cadence,
    overrides: Overrides,
) -> Training:
    """The run in numbers, from the default batch and samples unless these are overridden.

    Raises UsageError where the samples do not fill one batch.
    """
    batch = overrides.get("global_batch_size", batch)
    samples = overrides.get("train_samples", samples)
    # Megatron trains whole batches; the samples of a last, smaller one are left out.
    steps = samples // batch
    if steps == 0:
        advice = "train more tokens"
        if samples > 0:
            advice = f"--set global_batch_size={samples} or lower, or {advice}"
        raise UsageError(f"{samples:,} samples do not fill one batch of {batch}", advice)
    warmup_samples = int(samples * run_optimizer.warmup_fraction)
    if warmup_samples >= samples:
        raise UsageError(
            f"a warm-up of {warmup_samples:,} samples leaves none of {samples:,} for the decay",
            "--set warmup_fraction=0.01",
        )
    # Rounded up: at most saves_per_run checkpoints, whose disk space the plan's cost states.
    save_interval = math.ceil(steps / cadence.saves_per_run)
    return Training(
        sequence_length=sequence_length,
        global_batch_size=batch,
        train_samples=samples,
        steps=steps,
        warmup_samples=warmup_samples,
        save_interval=overrides.get("save_interval", save_interval),
    )
