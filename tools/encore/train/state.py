"""A run's state: fresh, taken up from a checkpoint, and saved into one.

The random streams are no part of it: each step seeds its own from the seed, the step and the rank (see loop).
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from encore.checkpoints import file_names, megatron_reader, model_states, step_folder, torch_file
from encore.errors import CheckpointError, DataError, UsageError
from encore.model.config import ModelConfig
from encore.model.gpt import GPT
from encore.train.engines import DeepSpeedEngine, Engine, Hyperparameters, TorchEngine
from encore.train.logs import Progress
from encore.train.schedule import Schedule
from encore.train.world import World

_SAME_MODEL = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "kv_channels")
_SAME_MODEL += ("max_position_embeddings", "padded_vocab_size", "bias_gelu_fusion")


@dataclass
class Run:
    """All that training works on."""

    args: argparse.Namespace
    world: World
    model: GPT
    engine: Engine
    schedule: Schedule
    progress: Progress


def start(
    args: argparse.Namespace, world: World, step: Path | None, configuration: dict[str, Any] | None
) -> Run:
    """A run at its beginning, or where the checkpoint in folder `step` left it. Raises CheckpointError.

    configuration: DeepSpeed's; None to train without it.
    """
    model = GPT.empty(ModelConfig.of(vars(args)))
    if step is None:
        model.initialise(torch.Generator().manual_seed(args.seed))
    else:
        _check_same_model(step, args)
        model.fill(megatron_reader.read(step).weights())
    model.to(world.device, torch.bfloat16 if args.bf16 else torch.float32).train()
    run = Run(
        args,
        world,
        model,
        _engine(args, world, model, configuration),
        Schedule.of(vars(args)),
        Progress(),
    )
    if step is not None and not args.finetune:
        _go_on(run, step)
    if world.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        for block in model.layers:
            block.compile()
    return run


def _check_same_model(step: Path, args: argparse.Namespace) -> None:
    saved = model_states.read(step).arguments
    wrong = [
        f"--{name.replace('_', '-')} {saved.get(name)} (now {getattr(args, name)})"
        for name in _SAME_MODEL
        if saved.get(name) != getattr(args, name)
    ]
    if wrong:
        raise CheckpointError(
            f"{step} is of another model: {', '.join(wrong)}", "give its values or another --load"
        )


def _go_on(run: Run, step: Path) -> None:
    """Take up the counters, the schedule and, unless --no-load-optim declines it, the optimizer's state."""
    args, states = run.args, model_states.read(step)
    saved = states.arguments
    run.progress = Progress(
        states.raw["iteration"], saved["consumed_train_samples"], saved["consumed_valid_samples"]
    )
    run.schedule = run.schedule.reconciled(
        states.raw["lr_scheduler"], args.override_lr_scheduler, args.use_checkpoint_lr_scheduler
    )
    if not args.no_load_optim:
        rank = run.world.rank if run.engine.partitions > 1 else 0
        path = step / file_names.optimizer_file(rank, states.bf16)
        run.engine.restore(_fitting(path, run.engine, states.data_ranks))


def _engine(
    args: argparse.Namespace, world: World, model: GPT, configuration: dict[str, Any] | None
) -> Engine:
    betas = (args.adam_beta1, args.adam_beta2)
    hyperparameters = Hyperparameters(
        args.lr, betas, args.adam_eps, args.weight_decay, args.clip_grad
    )
    if configuration is None:
        return TorchEngine(model, hyperparameters, world)
    return DeepSpeedEngine(model, hyperparameters, world, configuration)


def _fitting(path: Path, engine: Engine, partitions: int) -> dict[str, Any]:
    saved = torch_file.load(path)
    kind = saved.get("engine", "another trainer")
    if kind != engine.name or partitions != engine.partitions:
        raise CheckpointError(
            f"{path.parent} holds the optimizer of {kind} in {partitions} parts, "
            f"this run needs that of {engine.name} in {engine.partitions}",
            "go on with the same command line and number of processes, or say --no-load-optim",
        )
    return saved["optimizer_state_dict"]


def save(run: Run) -> Path:
    """Write a checkpoint into --save, all processes together; a kill at any moment leaves the one before."""
    args, iteration, rank = run.args, run.progress.iteration, run.world.rank
    if rank == 0:
        step_folder.begin(args.save, iteration)
    run.world.barrier()
    unfinished = step_folder.unfinished(args.save, iteration)
    if rank < run.engine.partitions:
        state = {"optimizer_state_dict": run.engine.state(), "engine": run.engine.name}
        torch_file.save(unfinished / file_names.optimizer_file(rank, args.bf16), state)
    if rank == 0:
        for number, module in run.model.layer_modules().items():
            weights = {
                name: value.detach().cpu().clone() for name, value in module.state_dict().items()
            }
            torch_file.save(unfinished / file_names.layer_file(number), weights)
        torch_file.save(unfinished / file_names.model_states_file(), _model_states(run))
    run.world.barrier()
    if rank == 0:
        step_folder.finish(args.save, iteration)
    run.world.barrier()
    return args.save / file_names.step_folder_name(iteration)


def _model_states(run: Run) -> dict[str, Any]:
    """Under the keys that Megatron-DeepSpeed uses, as plain values; dp_world_size counts the optimizer's files."""
    progress, tokens = run.progress, run.progress.train_samples * run.args.seq_length
    plain = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(run.args).items()
    }
    plain["iteration"], plain["consumed_train_tokens"] = progress.iteration, tokens
    plain["consumed_train_samples"], plain["consumed_valid_samples"] = (
        progress.train_samples,
        progress.valid_samples,
    )
    sizes = {
        "padded_vocab_size": run.args.padded_vocab_size,
        "original_vocab_size": run.args.vocab_size,
    }
    return {
        "module": None,
        "optimizer": None,
        "lr_scheduler": run.schedule.state(progress.train_samples, tokens),
        "global_steps": progress.iteration,
        "global_samples": progress.train_samples,
        "skipped_steps": 0,
        "dp_world_size": run.engine.partitions,
        "mp_world_size": 1,
        "args": plain,
        "checkpoint_version": 3.0,
        "iteration": progress.iteration,
        "tokens": tokens,
        "checkpoint_info": sizes,
    }


def deepspeed_configuration(args: argparse.Namespace) -> dict[str, Any]:
    """DeepSpeed's configuration file, checked to say what the command line says. Raises DataError, UsageError."""
    path = args.deepspeed_config
    try:
        configuration = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"--deepspeed_config {path} does not exist", "check the path") from None
    except ValueError as error:
        raise DataError(f"--deepspeed_config {path} is not JSON: {error}", "correct it") from None
    if not isinstance(configuration, dict):
        raise DataError(f"--deepspeed_config {path} is not a JSON object", "correct it")
    passes = args.global_batch_size // (args.micro_batch_size * args.world_size)
    configuration.setdefault("gradient_accumulation_steps", passes)
    wanted = {
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
    for keys, value in wanted.items():
        found: Any = configuration
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if (found or 0) != (value or 0):
            raise UsageError(
                f"{path} says {'.'.join(keys)} {json.dumps(found)}, the command line {json.dumps(value)}",
                "make them the same",
            )
    return configuration
