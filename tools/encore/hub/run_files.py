"""What the files of a run are, told by their names alone.

    global_step21553/…             a checkpoint; beside it DeepSpeed's `latest` and Megatron's own record of the newest
    transformers/…                 the converted model
    tensorboard…/, *tfevents*      TensorBoard's events
    evaluation/rankeval|generation/…   scores
    logs/, *.out, *.err, *.log     what Slurm and the trainer printed
    *.sh, *.sbatch, *.slurm        the job script

Source: huggingface/datablations, README ("Download", "Regular models"), utils/eval_rank.sh, utils/eval_generative.sh,
utils/hub_sync.py (`*tfevents*`), plotstables/isoflops_training.ipynb. No listing of the repositories themselves was at
hand; a file that none of these names tells is "other".
"""

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from encore.errors import HubError, UsageError

KINDS = ("checkpoint", "transformers", "tensorboard", "logs", "evaluation", "script", "other")
APPENDED_KINDS = ("tensorboard", "logs")  # these files grow at their end while a run writes them
_STEP = re.compile(r"global_step([0-9]+)")
_NEWEST = ("latest", "latest_checkpointed_iteration.txt")
_PART = re.compile(r"(.+)\.bin\.([a-z]{2,}|[0-9]+)")
_FOLDERS = {"transformers": "transformers", "evaluation": "evaluation", "logs": "logs"}
_ENDINGS = {
    ".out": "logs",
    ".err": "logs",
    ".log": "logs",
    ".sh": "script",
    ".sbatch": "script",
    ".slurm": "script",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def kind(path: str) -> str:
    """One of KINDS."""
    *folders, name = path.split("/")
    if "tfevents" in name or any(folder.startswith("tensorboard") for folder in folders):
        return "tensorboard"
    if name in _NEWEST or any(_STEP.fullmatch(folder) for folder in folders):
        return "checkpoint"
    for folder in folders:
        if folder in _FOLDERS:
            return _FOLDERS[folder]
    return _ENDINGS.get(PurePosixPath(name).suffix, "other")


def step(path: str) -> int | None:
    """The step of the checkpoint that a file belongs to, None for any other file."""
    matches = [match for part in path.split("/")[:-1] if (match := _STEP.fullmatch(part))]
    return int(matches[-1][1]) if matches else None


def steps(paths: Iterable[str]) -> list[int]:
    """The steps among files, ascending."""
    return sorted({number for path in paths if (number := step(path)) is not None})


def select_steps(paths: Collection[str], asked: str | None) -> list[int]:
    """The steps that `asked` means: a number, "latest", "all", or None for the only one there is.

    Raises UsageError for a step that is not there, and where there are several and none is asked for.
    """
    there = steps(paths)
    listed = ", ".join(map(str, there)) or "none"
    if asked == "all":
        return there
    if asked == "latest" or (asked is None and len(there) == 1):
        return there[-1:]
    if asked is None and there:
        raise UsageError(
            f"there are {len(there)} steps: {listed}", "say --step N, --step latest or --step all"
        )
    if asked is not None and (not asked.isdigit() or int(asked) not in there):
        raise UsageError(
            f"there is no step {asked!r}", f"there are: {listed}; or say latest or all"
        )
    return [int(asked)] if asked else []


def select(paths: Collection[str], whats: Collection[str], asked_step: str | None) -> list[str]:
    """The files of these kinds; of checkpoints the asked steps, and the record of the newest only with the newest."""
    if asked_step is not None and "checkpoint" not in whats:
        raise UsageError("--step is of checkpoints", "leave it out, or add checkpoint to --what")
    kinds = {path: kind(path) for path in paths}
    checkpoints = [path for path in paths if kinds[path] == "checkpoint"]
    wanted = select_steps(checkpoints, asked_step) if "checkpoint" in whats else []
    newest = wanted[-1:] == steps(checkpoints)[-1:]

    def taken(path: str) -> bool:
        if kinds[path] != "checkpoint":
            return True
        number = step(path)
        return newest if number is None else number in wanted

    return [path for path in paths if kinds[path] in whats and taken(path)]


def dataset_files(paths: Iterable[str], prefix: str) -> list[str]:
    """The files of one .bin/.idx pair, also in parts and with preprocess_data.py's suffix; or a folder's; or a file."""
    pattern = re.compile(
        re.escape(prefix)
        + r"(/.+|(_(text|content)_document)?\.(bin(\.[a-z]+|\.[0-9]+)?|idx|json))?"
    )
    return [path for path in paths if pattern.fullmatch(path)]


def part_groups(paths: Iterable[str]) -> dict[str, list[str]]:
    """Prefix → its parts in order, for every PREFIX.bin.aa (or .00), PREFIX.bin.ab and so on; a .bin.gz is no part."""
    groups: dict[str, dict[str, str]] = {}
    for path in paths:
        if match := _PART.fullmatch(path):
            groups.setdefault(match[1], {})[match[2]] = path
    return {
        prefix: [
            group[suffix] for suffix in sorted(group, key=lambda suffix: (len(suffix), suffix))
        ]
        for prefix, group in groups.items()
        if any(not suffix.strip(first) for suffix in group for first in "a0")
    }


def check_inside(path: str) -> str:
    """`path`, a name from outside; raises HubError for one that would leave the folder it is put into."""
    parts = path.split("/")
    if (
        _CONTROL.search(path)
        or any(part in ("", ".", "..") for part in parts)
        or re.match(r"[A-Za-z]:", path)
    ):
        raise HubError(
            f"the repository holds a file {path!r}, which would leave the folder",
            "nothing was taken",
        )
    return path
