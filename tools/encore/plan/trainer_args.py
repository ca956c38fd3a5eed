"""The trainer's command line: a plan's values under the trainer's argument names."""

import json

from encore.plan.records import Plan
from encore.registry import trainer_rules

# How often DeepSpeed prints its own lines; the trainer logs every --log-interval steps.
_DEEPSPEED_STEPS_PER_PRINT = 2000


def trainer_args(plan: Plan) -> list[str]:
    """All arguments, the same on every rank; raises UsageError for what the trainer refuses."""
    options = _model(plan) | _optimization(plan) | _cadence(plan) | _files(plan) | _exits(plan)
    arguments = []
    for name, value in options.items():
        arguments += [name, _text(value)]
    arguments += _switches(plan)
    arguments += plan.software.pin.adds.split()
    arguments += _data(plan)
    trainer_rules.check_arguments(plan.software.trainer, plan.software.pin, arguments, plan.gpus)
    return arguments


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    # 15 digits give back a decimal without the noise of binary fractions, unless it has more
    text = f"{value:.15g}"
    return text if float(text) == value else repr(value)


def _model(plan: Plan) -> dict[str, object]:
    model = plan.model
    layout = plan.layout
    return {
        "--tensor-model-parallel-size": layout.tensor_parallel,
        "--pipeline-model-parallel-size": layout.pipeline_parallel,
        "--num-layers": model.num_layers,
        "--hidden-size": model.hidden_size,
        "--ffn-hidden-size": model.ffn_hidden_size,
        "--num-attention-heads": model.num_attention_heads,
        "--kv-channels": model.kv_channels,
        "--seq-length": plan.training.sequence_length,
        "--max-position-embeddings": model.max_position_embeddings,
        # Megatron has two rates, the registry one for both.
        "--attention-dropout": plan.optimizer.dropout,
        "--hidden-dropout": plan.optimizer.dropout,
    }


def _optimization(plan: Plan) -> dict[str, object]:
    training = plan.training
    optimizer = plan.optimizer
    return {
        "--micro-batch-size": plan.layout.micro_batch_size,
        "--global-batch-size": training.global_batch_size,
        "--train-samples": training.train_samples,
        "--optimizer": "adam",
        "--adam-beta1": optimizer.adam_beta1,
        "--adam-beta2": optimizer.adam_beta2,
        "--adam-eps": optimizer.adam_eps,
        "--lr": optimizer.lr,
        "--min-lr": optimizer.min_lr,
        "--lr-decay-style": optimizer.lr_decay_style,
        # The decay ends with the run: its last step has the minimal learning rate.
        "--lr-decay-samples": training.train_samples,
        "--lr-warmup-samples": training.warmup_samples,
        "--weight-decay": optimizer.weight_decay,
        "--clip-grad": optimizer.clip_grad,
        "--seed": optimizer.seed,
    }


def _cadence(plan: Plan) -> dict[str, object]:
    cadence = plan.cadence
    return {
        "--log-interval": cadence.log_interval,
        "--save-interval": plan.training.save_interval,
        "--eval-interval": cadence.eval_interval,
        "--eval-iters": cadence.eval_iters,
        # Megatron's default, 1000, keeps events long in memory, where a killed job loses them.
        "--tensorboard-queue-size": 5,
    }


def _files(plan: Plan) -> dict[str, object]:
    paths = plan.paths
    tokenizer = f"{paths.tokenizers}/{plan.data.tokenizer.name}"
    return {
        "--vocab-file": f"{tokenizer}/vocab.json",
        "--merge-file": f"{tokenizer}/merges.txt",
        "--data-impl": "mmap",
        # The same folder twice: each further job of a run resumes from its last checkpoint.
        "--save": paths.checkpoints,
        "--load": paths.checkpoints,
        "--tensorboard-dir": paths.tensorboard,
        "--deepspeed_config": f"{paths.config}/deepspeed.json",
        "--zero-stage": 1,
    }


def _exits(plan: Plan) -> dict[str, object]:
    trainer = plan.software.trainer
    exits: dict[str, object] = {trainer.stop_file_argument: plan.paths.kill_switch}
    if plan.job.exit_minutes is not None:
        exits[trainer.exit_duration_argument] = plan.job.exit_minutes
    return exits


def _switches(plan: Plan) -> list[str]:
    trainer = plan.software.trainer
    switches = [
        "--deepspeed",
        "--log-timers-to-tensorboard",
        "--log-batch-size-to-tensorboard",
        "--log-validation-ppl-to-tensorboard",
    ]
    if plan.layout.bf16:
        switches.append("--bf16")
    if plan.layout.activation_checkpointing:
        switches += ["--checkpoint-activations", "--deepspeed-activation-checkpointing"]
    if exit_signal(plan) and trainer.exit_signal_argument:
        switches.append(trainer.exit_signal_argument)
    return switches


def _data(plan: Plan) -> list[str]:
    data = plan.data
    paths = plan.paths
    if plan.software.trainer.data == "weighted-split-paths":
        return [
            "--train-weighted-split-paths-path",
            f"{paths.config}/{data.train_file}",
            "--valid-weighted-split-paths-path",
            f"{paths.config}/{data.valid_file}",
        ]
    arguments = []
    for option, group in (("--train-data-path", data.train), ("--valid-data-path", data.valid[0])):
        arguments.append(option)
        for part in group.parts:
            arguments += [str(part.weight), f"{paths.data}/{part.prefix}"]
    return arguments


def exit_signal(plan: Plan) -> str | None:
    """The signal that Slurm sends before the limit; None unless it reaches ranks that catch it.

    torchrun does not forward signals to its ranks, so there the exit duration alone ends the run.
    """
    if plan.cluster.scheduler == "slurm" and plan.job.launch == "tasks":
        return plan.software.trainer.exit_signal
    return None


def deepspeed_config(plan: Plan) -> str:
    """DeepSpeed's configuration file, as JSON."""
    config: dict[str, object] = {
        "train_micro_batch_size_per_gpu": plan.layout.micro_batch_size,
        "train_batch_size": plan.training.global_batch_size,
        "gradient_clipping": plan.optimizer.clip_grad,
        "zero_optimization": {"stage": 1},
        "steps_per_print": _DEEPSPEED_STEPS_PER_PRINT,
        "wall_clock_breakdown": False,
    }
    if plan.layout.bf16:
        config["bf16"] = {"enabled": True}
    return json.dumps(config, indent=2)
