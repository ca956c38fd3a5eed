"""A plan as a job script. Pure: text in, text out.

The shell lives in templates/; every number and path in it comes from the plan.
"""

import shlex
from pathlib import Path

import jinja2

from encore import __version__, kit
from encore.errors import UsageError
from encore.plan import trainer_args
from encore.plan.records import Plan

# The job writes the probe beside its own files, for the image need not hold the kit.
_PROBE = Path(__file__).resolve().parents[1] / "doctor" / "probe.py"
_RESUME_CHECK = Path(__file__).resolve().parent / "resume_check.py"


def train_script(plan: Plan, kit_folder: str = str(kit.ROOT)) -> str:
    """The script that trains `plan`: for sbatch, or for bash where the cluster has no scheduler.

    kit_folder: where a job without a container finds the kit.
    """
    # with another batch, steps that are done stand for another number of samples
    resume_check = None
    if plan.software.trainer.counts == "steps":
        resume_check = _RESUME_CHECK.read_text(encoding="utf-8")
    tokenizer = f"{plan.paths.tokenizers}/{plan.data.tokenizer.name}"
    return _render(
        "train.sbatch.j2",
        plan,
        kit_folder,
        job_name=plan.name,
        program=_program(plan),
        tokenizer_files=[f"{tokenizer}/vocab.json", f"{tokenizer}/merges.txt"],
        argument_lines=_argument_lines(trainer_args.trainer_args(plan)),
        deepspeed_config=trainer_args.deepspeed_config(plan),
        exit_signal=trainer_args.exit_signal(plan),
        resume_check=resume_check,
    )


def doctor_script(plan: Plan, kit_folder: str = str(kit.ROOT)) -> str:
    """The script that probes the plan's own container and nodes without training."""
    return _render(
        "doctor.sbatch.j2",
        plan,
        kit_folder,
        job_name=f"doctor-{plan.name}",
        program='"$CONFIG"/probe.py',
        probe=_PROBE.read_text(encoding="utf-8"),
        exit_signal=None,
        resume_check=None,
    )


def _render(template: str, plan: Plan, kit_folder: str, **values: object) -> str:
    folders = _bound_folders(plan)
    # pyxis is a plugin of srun; singularity and apptainer are commands that srun runs.
    container_srun = ""
    if plan.cluster.runtime == "pyxis":
        mounts = ",".join(f"{folder}:{folder}" for folder in folders)
        container_srun = f' --container-image="$IMAGE" --container-mounts={shlex.quote(mounts)}'
    return (
        _environment()
        .get_template(template)
        .render(
            version=__version__,
            plan=plan,
            kit=kit_folder,
            image_path=image_path(plan),
            binds=",".join(folders),
            container_srun=container_srun,
            srun_options=shlex.join(plan.cluster.launch.srun_options),
            threads_per_rank=_threads_per_rank(plan),
            **values,
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(kit.TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # The output is shell, not HTML: values pass through `quote` instead.
        autoescape=False,
    )
    environment.filters["quote"] = shlex.quote
    return environment


def image_path(plan: Plan) -> str | None:
    """The image file that a job of this plan starts; None where the cluster has no containers.

    Raises UsageError where pyxis needs a squashfs image and the registry names none.
    """
    image = plan.software.image
    if image is None:
        return None
    if plan.cluster.runtime != "pyxis":
        return f"{plan.paths.images}/{image.file}"
    if image.squashfs is None:
        raise UsageError(
            f"image {plan.software.image_name} has no squashfs file, and pyxis starts no other",
            "--set image=NAME of one that has a squashfs in registry/images.yml",
        )
    return f"{plan.paths.images}/{image.squashfs}"


def _bound_folders(plan: Plan) -> list[str]:
    """The folders that the container must see, each once.

    They are the workspace, the user's folders outside it, and those that the image itself needs.
    """
    workspace = plan.paths.workspace
    folders = [workspace]
    for _, folder in plan.paths.folders:
        if not folder.startswith(f"{workspace}/"):
            folders.append(folder)
    if plan.software.image is not None:
        folders += plan.software.image.binds
    return list(dict.fromkeys(folders))


def _program(plan: Plan) -> str:
    """The trainer's entry point as a word of shell: in the image, or in the kit without one."""
    software = plan.software
    if software.image is None:
        return f'"$ENCORE"/{shlex.quote(software.pin.entry)}'
    folder = f"{software.image.trainers_folder}/{software.trainer.name}-{software.objective}"
    return shlex.quote(f"{folder}/{software.pin.entry}")


def _threads_per_rank(plan: Plan) -> int:
    # torchrun starts all of a node's ranks in one task, so they share the task's cores.
    ranks_per_task = plan.job.gpus_per_node
    if plan.job.launch == "tasks":
        ranks_per_task = 1
    return max(1, plan.job.cpus_per_task // ranks_per_task)


def _argument_lines(arguments: list[str]) -> list[str]:
    """One option per line, followed by its values, each quoted for the shell."""
    lines: list[str] = []
    for argument in arguments:
        word = shlex.quote(argument)
        if argument.startswith("--"):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return lines
