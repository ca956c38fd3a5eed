"""The trainer's command line: a plan as the exact arguments that the trainer gets, in its own spelling."""

import json

from encore.plan.records import Plan
from encore.registry import trainer_rules

_DEEPSPEED_STEPS_PER_PRINT = (
    2000  # DeepSpeed's own lines; the trainer logs every --log-interval steps
)


def trainer_args(plan: Plan) -> list[str]:
    """All arguments, the same for every rank; raises UsageError for what the trainer would refuse."""
    options = _model(plan) | _training(plan) | _cadence(plan) | _files(plan) | _exits(plan)
    listed = [text for name, value in options.items() for text in (name, _text(value))]
    arguments = listed + _switches(plan) + plan.software.pin.adds.split() + _data(plan)
    trainer_rules.check_arguments(plan.software.trainer, plan.software.pin, arguments, plan.gpus)
    return arguments


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _model(plan: Plan) -> dict[str, object]:
    model, layout = plan.model, plan.layout
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
        "--attention-dropout": plan.training.dropout,
        "--hidden-dropout": plan.training.dropout,
    }


def _training(plan: Plan) -> dict[str, object]:
    training = plan.training
    return {
        "--micro-batch-size": plan.layout.micro_batch_size,
        "--global-batch-size": training.global_batch_size,
        "--train-samples": training.train_samples,
        "--optimizer": "adam",
        "--adam-beta1": training.adam_beta1,
        "--adam-beta2": training.adam_beta2,
        "--adam-eps": training.adam_eps,
        "--lr": training.lr,
        "--min-lr": training.min_lr,
        "--lr-decay-style": training.lr_decay_style,
        "--lr-decay-samples": training.train_samples,
        "--lr-warmup-samples": training.warmup_samples,
        "--weight-decay": training.weight_decay,
        "--clip-grad": training.clip_grad,
        "--seed": training.seed,
    }


def _cadence(plan: Plan) -> dict[str, object]:
    training = plan.training
    return {
        "--log-interval": training.log_interval,
        "--save-interval": training.save_interval,
        "--eval-interval": training.eval_interval,
        "--eval-iters": training.eval_iters,
        "--tensorboard-queue-size": 5,
    }


def _files(plan: Plan) -> dict[str, object]:
    paths = plan.paths
    tokenizer = f"{paths.tokenizers}/{plan.data.tokenizer.name}"
    return {
        "--vocab-file": f"{tokenizer}/vocab.json",
        "--merge-file": f"{tokenizer}/merges.txt",
        "--data-impl": "mmap",
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
    switches = ["--deepspeed", "--log-timers-to-tensorboard", "--log-batch-size-to-tensorboard"]
    switches.append("--log-validation-ppl-to-tensorboard")
    if plan.layout.bf16:
        switches.append("--bf16")
    if plan.layout.activation_checkpointing:
        switches += ["--checkpoint-activations", "--deepspeed-activation-checkpointing"]
    if exit_signal(plan) and plan.software.trainer.exit_signal_argument:
        switches.append(plan.software.trainer.exit_signal_argument)
    return switches


def _data(plan: Plan) -> list[str]:
    data, paths = plan.data, plan.paths
    if plan.software.trainer.data == "weighted-split-paths":
        return [
            *("--train-weighted-split-paths-path", f"{paths.config}/{data.train_file}"),
            *("--valid-weighted-split-paths-path", f"{paths.config}/{data.valid_file}"),
        ]
    listed = []
    for option, group in (("--train-data-path", data.train), ("--valid-data-path", data.valid[0])):
        listed.append(option)
        for part in group.parts:
            listed += [str(part.weight), f"{paths.data}/{part.prefix}"]
    return listed


def exit_signal(plan: Plan) -> str | None:
    """The signal that Slurm may send before the limit: only one that the trainer catches, where it reaches the ranks.

    torchrun does not hand a signal on to its ranks, so there the exit duration does the work alone.
    """
    reaches_ranks = plan.cluster.scheduler == "slurm" and plan.job.launch == "tasks"
    return plan.software.trainer.exit_signal if reaches_ranks else None


def deepspeed_config(plan: Plan) -> str:
    """DeepSpeed's configuration file, as JSON."""
    config: dict[str, object] = {
        "train_micro_batch_size_per_gpu": plan.layout.micro_batch_size,
        "train_batch_size": plan.training.global_batch_size,
        "gradient_clipping": plan.training.clip_grad,
        "zero_optimization": {"stage": 1},
        "steps_per_print": _DEEPSPEED_STEPS_PER_PRINT,
        "wall_clock_breakdown": False,
    }
    if plan.layout.bf16:
        config["bf16"] = {"enabled": True}
    return json.dumps(config, indent=2)
