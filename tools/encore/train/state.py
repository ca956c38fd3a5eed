"""A run's state: fresh, resumed from a checkpoint, and saved into one.

The random streams are no part of it: each step seeds its own from the seed, the step and the rank
(see loop), so that a checkpoint need not hold generators of every rank.
"""

import argparse
import json
import reprlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from encore import strict_json
from encore.checkpoints import (
    file_names,
    megatron_reader,
    megatron_writer,
    model_states,
    step_folder,
    torch_file,
)
from encore.checkpoints.model_states import ModelStates
from encore.checkpoints.trainer_format import TURKUNLP
from encore.errors import CheckpointError, DataError, UsageError
from encore.model.config import ModelConfig
from encore.model.gpt import GPT
from encore.train.engines import DeepSpeedEngine, Engine, Hyperparameters, TorchEngine
from encore.train.logs import Progress
from encore.train.samples import Dataset
from encore.train.schedule import Schedule
from encore.train.world import World

_SAME_MODEL = (
    "num_layers",
    "hidden_size",
    "ffn_hidden_size",
    "num_attention_heads",
    "kv_channels",
    "max_position_embeddings",
    "padded_vocab_size",
    "bias_gelu_fusion",
)


@dataclass
class TrainingRun:
    """All that training works on."""

    args: argparse.Namespace
    world: World
    model: GPT
    engine: Engine
    schedule: Schedule
    progress: Progress


def start(
    args: argparse.Namespace, world: World, step: Path | None, configuration: dict[str, Any] | None
) -> TrainingRun:
    """A run at its beginning, or where the checkpoint in folder `step` left it.

    configuration: DeepSpeed's; None to train without it. Raises CheckpointError.
    """
    model = GPT.empty(ModelConfig.of(vars(args)))
    if step is None:
        model.initialise(torch.Generator().manual_seed(args.seed))
    else:
        _check_same_model(step, args)
        model.fill(megatron_reader.read(step).weights())
    # the engine holds fp32 masters, made from these weights
    model.to(world.device, torch.bfloat16 if args.bf16 else torch.float32).train()
    run = TrainingRun(
        args,
        world,
        model,
        _engine(args, world, model, configuration),
        Schedule.of(vars(args)),
        Progress(),
    )
    if step is not None and not args.finetune:
        _resume(run, step)
    args.train_iters = run.progress.last_iteration(args.train_samples, args.global_batch_size)
    if world.device.type == "cuda":
        # TF32 for what is left of fp32 products
        torch.set_float32_matmul_precision("high")
        # layer by layer: they share one compiled graph, and recomputation stays outside it
        for layer in model.layers:
            layer.compile()
    return run


def _check_same_model(step: Path, args: argparse.Namespace) -> None:
    saved = asdict(model_states.model_config(model_states.read(step).arguments))
    own = asdict(ModelConfig.of(vars(args)))
    changes = []
    for name in _SAME_MODEL:
        if saved[name] != own[name]:
            changes.append(f"--{name.replace('_', '-')} {saved[name]} (now {own[name]})")
    if changes:
        raise CheckpointError(
            f"{step} is of another model: {', '.join(changes)}",
            "repeat the arguments that it was trained with, or give another --load",
        )


def check_continues(step: Path, args: argparse.Namespace, train: Dataset) -> None:
    """Raise CheckpointError where these arguments would not go on with the checkpoint's samples.

    Its consumed samples are the first of a stream, which data, seed, length and number of samples
    decide: in another stream some would come again, and others never.
    """
    states = model_states.read(step)
    saved = states.arguments
    hint = "repeat the value, or start anew from its weights with --finetune and another --save"
    for name in ("seq_length", "seed"):
        value = saved.get(name, getattr(args, name))
        if value != getattr(args, name):
            raise CheckpointError(
                f"{step} was trained with --{name.replace('_', '-')} {reprlib.repr(value)}"
                f" (now {getattr(args, name)}), which decides the order of the samples",
                hint,
            )
    consumed = states.counter("consumed_train_samples")
    if consumed > args.train_samples:
        raise CheckpointError(
            f"{step} has consumed {consumed} samples, more than --train-samples"
            f" {args.train_samples}",
            f"raise --train-samples to {consumed} or more",
        )
    planned = states.counters.get("train_samples")
    if planned is not None and consumed and not train.same_order(planned):
        raise CheckpointError(
            f"{step} was trained with --train-samples {planned} (now {args.train_samples}): over"
            " other epochs, the samples come in another order",
            hint,
        )


def _resume(run: TrainingRun, step: Path) -> None:
    """Restore the counters, the schedule and, without --no-load-optim, the optimizer's state."""
    args = run.args
    states = model_states.read(step)
    run.progress = Progress(
        states.counter("iteration"),
        states.counter("consumed_train_samples"),
        states.counter("consumed_valid_samples"),
    )
    run.schedule = run.schedule.reconciled(
        TURKUNLP.schedule(states.schedule),
        args.override_lr_scheduler,
        args.use_checkpoint_lr_scheduler,
    )
    if not args.no_load_optim:
        # without ZeRO every rank holds the same state, and the first one has written it
        rank = run.world.rank if run.engine.partitions > 1 else 0
        _restore_optimizer(run.engine, states, rank)


def _engine(
    args: argparse.Namespace, world: World, model: GPT, configuration: dict[str, Any] | None
) -> Engine:
    hyperparameters = Hyperparameters(
        lr=args.lr,
        betas=(args.adam_beta1, args.adam_beta2),
        eps=args.adam_eps,
        weight_decay=args.weight_decay,
        clip_grad=args.clip_grad,
    )
    if configuration is None or args.zero_stage == 0:
        return TorchEngine(model, hyperparameters, world)
    return DeepSpeedEngine(model, hyperparameters, world, configuration)


def _restore_optimizer(engine: Engine, states: ModelStates, rank: int) -> None:
    """Restore this rank's part; raises CheckpointError for another engine's, step's or model's."""
    step = states.step
    if states.holds_optimizer:
        partitions = 1
        saved = torch_file.load(step / file_names.model_states_file())["optimizer"]
    else:
        partitions = states.data_ranks
        saved = torch_file.load(step / file_names.optimizer_file(rank, states.bf16))
    kind = "another trainer"
    if isinstance(saved, dict):
        kind = saved.get("engine", kind)
    if kind != engine.name or partitions != engine.partitions:
        raise CheckpointError(
            f"{step} holds the optimizer of {kind} in {partitions} parts, "
            f"this run needs that of {engine.name} in {engine.partitions}",
            "resume with the same command line and number of processes, or add --no-load-optim",
        )
    iteration = states.counter("iteration")
    # files from before the optimizer's told their step have none
    if saved.get("iteration", iteration) != iteration:
        raise CheckpointError(
            f"{step} holds the model of step {iteration} and the optimizer of step"
            f" {reprlib.repr(saved['iteration'])}",
            "fetch its files again, use another step, or add --no-load-optim",
        )
    try:
        engine.restore(saved["optimizer_state_dict"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError) as error:
        # what torch and DeepSpeed raise for values, shapes and keys that they do not expect
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{step} holds no optimizer state of this model: {reason}",
            "it is damaged; use another step, or add --no-load-optim",
        ) from None


def save(run: TrainingRun) -> None:
    """Write a checkpoint into --save, all processes together.

    A kill at any moment leaves the checkpoint before it: the folder gets its name when it is whole.
    """
    folder: Path = run.args.save
    iteration = run.progress.iteration
    rank = run.world.rank
    if rank == 0:
        step_folder.begin(folder, iteration)
    # the others write into the folder that rank 0 has made
    run.world.barrier()
    unfinished = step_folder.unfinished(folder, iteration)
    # DeepSpeed without ZeRO keeps the optimizer's state in the file of arguments and counters
    in_model_states = run.args.deepspeed and run.args.zero_stage == 0
    optimizer = None
    if rank < run.engine.partitions:
        optimizer = {
            "optimizer_state_dict": run.engine.state(),
            "engine": run.engine.name,
            "iteration": iteration,
        }
        if not in_model_states:
            path = unfinished / file_names.optimizer_file(rank, run.args.bf16)
            torch_file.save(path, optimizer)
            optimizer = None
    if rank == 0:
        for number, module in run.model.layer_modules().items():
            weights = {}
            for name, value in module.state_dict().items():
                # a copy of its own: a view would save the whole flat tensor that it belongs to
                weights[name] = value.detach().cpu().clone()
            torch_file.save(unfinished / file_names.layer_file(number), weights)
        _save_model_states(run, unfinished / file_names.model_states_file(), optimizer)
    run.world.barrier()
    if rank == 0:
        step_folder.finish(folder, iteration)
    run.world.barrier()


def _save_model_states(run: TrainingRun, path: Path, optimizer: dict[str, Any] | None) -> None:
    """Write the values that Megatron-DeepSpeed reads, under its keys and in its types.

    dp_world_size counts the optimizer's files, or the processes where it has none.
    """
    progress = run.progress
    tokens = progress.train_samples * run.args.seq_length
    arguments: dict[str, Any] = {}
    for name, value in vars(run.args).items():
        # no reader allows a Path
        arguments[name] = str(value) if isinstance(value, Path) else value
    arguments |= {
        "iteration": progress.iteration,
        "consumed_train_tokens": tokens,
        "consumed_train_samples": progress.train_samples,
        "consumed_valid_samples": progress.valid_samples,
    }
    states = {
        "module": None,
        "optimizer": optimizer,
        "lr_scheduler": run.schedule.state(progress.train_samples, tokens),
        "global_steps": progress.iteration,
        "global_samples": progress.train_samples,
        "skipped_steps": 0,
        "dp_world_size": run.world.size if optimizer else run.engine.partitions,
        "mp_world_size": 1,
        "checkpoint_version": 3.0,
        "iteration": progress.iteration,
        "tokens": tokens,
        "checkpoint_info": {
            "padded_vocab_size": run.args.padded_vocab_size,
            "original_vocab_size": run.args.vocab_size,
        },
    }
    # Megatron compares arguments by attribute, and this one with its own enum
    with megatron_writer.absolute_positions() as absolute:
        arguments["position_embedding_type"] = absolute
        torch_file.save(path, states | {"args": argparse.Namespace(**arguments)})


def deepspeed_configuration(args: argparse.Namespace) -> dict[str, Any]:
    """DeepSpeed's configuration file, which must agree with the command line.

    Raises DataError for a file that is not a JSON object, UsageError where the two differ.
    """
    path: Path = args.deepspeed_config
    configuration = strict_json.read_object(
        path, DataError, "tools/render_sbatch.py writes one for a run", "--deepspeed_config"
    )
    passes = args.global_batch_size // (args.micro_batch_size * args.world_size)
    configuration.setdefault("gradient_accumulation_steps", passes)
    expected = {
        ("gradient_accumulation_steps",): passes,
        ("train_micro_batch_size_per_gpu",): args.micro_batch_size,
        ("train_batch_size",): args.global_batch_size,
        ("gradient_clipping",): args.clip_grad,
        ("zero_optimization", "stage"): args.zero_stage,
        ("bf16", "enabled"): args.bf16,
        ("fp16", "enabled"): False,
        ("optimizer",): None,
        ("scheduler",): None,
    }
    for keys, value in expected.items():
        setting: Any = configuration
        for key in keys:
            setting = setting.get(key) if isinstance(setting, dict) else None
        # absent, null, false and 0 all mean the same to DeepSpeed
        if (setting or 0) != (value or 0):
            raise UsageError(
                f"{path} says {'.'.join(keys)} {json.dumps(setting)},"
                f" the command line {json.dumps(value)}",
                f"set {'.'.join(keys)} to {json.dumps(value)} in {path}",
            )
    return configuration
