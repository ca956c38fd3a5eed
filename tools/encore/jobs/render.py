"""A plan as a job script: pure, text in and text out. Templates hold the shell, nothing is computed in them."""

import shlex
from pathlib import Path

import jinja2

from encore import __version__, kit
from encore.errors import UsageError
from encore.plan import trainer_args
from encore.plan.records import Plan

_PROBE = Path(__file__).resolve().parents[1] / "doctor" / "probe.py"


def train_script(plan: Plan, kit_folder: str = str(kit.ROOT)) -> str:
    """The script that trains `plan`: for sbatch, or for bash where the cluster has no scheduler.

    kit_folder: where a job without a container finds the kit.
    """
    tokenizer = f"{plan.paths.tokenizers}/{plan.data.tokenizer.name}"
    return _rendered(
        "train.sbatch.j2",
        plan,
        kit_folder,
        job_name=plan.name,
        program=_program(plan),
        tokenizer_files=[f"{tokenizer}/{file}" for file in ("vocab.json", "merges.txt")],
        argument_lines=_argument_lines(trainer_args.trainer_args(plan)),
        deepspeed_config=trainer_args.deepspeed_config(plan),
        exit_signal=trainer_args.exit_signal(plan),
    )


def doctor_script(plan: Plan, kit_folder: str = str(kit.ROOT)) -> str:
    """The script that finds out, in the job's own container and on its own nodes, what would fail."""
    return _rendered(
        "doctor.sbatch.j2",
        plan,
        kit_folder,
        job_name=f"doctor-{plan.name}",
        program='"$CONFIG"/probe.py',
        probe=_PROBE.read_text(encoding="utf-8"),
        exit_signal=None,
    )


def _rendered(template: str, plan: Plan, kit_folder: str, **values: object) -> str:
    image = plan.software.image
    folders = dict.fromkeys(
        [plan.paths.workspace, *_outside(plan), *(image.binds if image else ())]
    )
    mounts = ",".join(f"{folder}:{folder}" for folder in folders)
    pyxis = f' --container-image="$IMAGE" --container-mounts={shlex.quote(mounts)}'
    known = {
        "version": __version__,
        "plan": plan,
        "kit": kit_folder,
        "image_path": image_path(plan),
        "binds": ",".join(folders),
        "container_srun": pyxis if plan.cluster.runtime == "pyxis" else "",
        "srun_options": " ".join(map(shlex.quote, plan.cluster.launch.srun_options)),
        "threads_per_rank": _threads_per_rank(plan),
    }
    return _environment().get_template(template).render(known | values)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(kit.TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # shell, not HTML: values pass through `quote`
    )
    environment.filters["quote"] = shlex.quote
    return environment


def image_path(plan: Plan) -> str | None:
    """The image that a job of this plan starts; None without containers; raises UsageError where pyxis lacks one."""
    image = plan.software.image
    if image is None:
        return None
    if plan.cluster.runtime != "pyxis":
        return f"{plan.paths.images}/{image.file}"
    if image.squashfs is None:
        raise UsageError(
            f"image {plan.software.image_name} has no squashfs form, which pyxis needs",
            "choose --set image",
        )
    return f"{plan.paths.images}/{image.squashfs}"


def _program(plan: Plan) -> str:
    """The trainer's program as a word of shell: inside the image, or in the kit where there is none."""
    image, software = plan.software.image, plan.software
    if image is None:
        return f'"$ENCORE"/{shlex.quote(software.pin.entry)}'
    folder = f"{image.trainers_folder}/{software.trainer.name}-{software.objective}"
    return shlex.quote(f"{folder}/{software.pin.entry}")


def _outside(plan: Plan) -> list[str]:
    """The user's own folders, which the bind of the workspace does not cover."""
    return [
        folder
        for _, folder in plan.paths.folders
        if not folder.startswith(f"{plan.paths.workspace}/")
    ]


def _threads_per_rank(plan: Plan) -> int:
    ranks = 1 if plan.job.launch == "tasks" else plan.job.gpus_per_node
    return max(1, plan.job.cpus_per_task // ranks)


def _argument_lines(arguments: list[str]) -> list[str]:
    """One option a line, with its values, each quoted."""
    lines: list[list[str]] = []
    for argument in arguments:
        if argument.startswith("--"):
            lines.append([])
        lines[-1].append(shlex.quote(argument))
    return [" ".join(line) for line in lines]
