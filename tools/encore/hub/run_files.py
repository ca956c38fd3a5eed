"""What the files of a run are, by their names alone.

    global_step21553/…             a checkpoint; beside it DeepSpeed's `latest` and Megatron's own
                                   record of the newest step
    transformers/…                 the converted model
    tensorboard…/, *tfevents*      TensorBoard's events
    evaluation/rankeval|generation/…   scores
    logs/, *.out, *.err, *.log     what Slurm and the trainer printed
    *.sh, *.sbatch, *.slurm        the job script

Source: huggingface/datablations, README ("Download", "Regular models"), utils/eval_rank.sh,
utils/eval_generative.sh, utils/hub_sync.py (`*tfevents*`), plotstables/isoflops_training.ipynb. The
repositories' own listings were not available; a file that no name of these describes is "other".
"""

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from encore.errors import HubError, UsageError, shortened

KINDS = ("checkpoint", "transformers", "tensorboard", "logs", "evaluation", "script", "other")
APPENDED_KINDS = ("tensorboard", "logs")  # a run appends to these files while it writes them
_STEP = re.compile(r"global_step([0-9]+)")
_NEWEST_STEP_FILES = ("latest", "latest_checkpointed_iteration.txt")
# GNU split names parts aa, ab, … and, once two letters are used up, zaaa, …; with -d 00, 01, …
_PART = re.compile(r"(.+)\.bin\.([a-z]{2,}|[0-9]+)")
_KIND_BY_FOLDER = {"transformers": "transformers", "evaluation": "evaluation", "logs": "logs"}
_KIND_BY_EXTENSION = {
    ".out": "logs",
    ".err": "logs",
    ".log": "logs",
    ".sh": "script",
    ".sbatch": "script",
    ".slurm": "script",
}
# and halves of surrogate pairs, which JSON can state and no file name can hold
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
_VERSION_CONTROL = (".git", ".hg", ".svn", ".bzr")  # their hooks are run, and what is in it trusted
_LONGEST_NAME_BYTES = 255  # of Linux's file systems
_LONGEST_PATH_BYTES = 2048  # which leaves as much of PATH_MAX for the folder
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:")


def kind(path: str) -> str:
    """One of KINDS."""
    *folders, name = path.split("/")
    if "tfevents" in name or any(folder.startswith("tensorboard") for folder in folders):
        return "tensorboard"
    if name in _NEWEST_STEP_FILES or any(_STEP.fullmatch(folder) for folder in folders):
        return "checkpoint"
    for folder in folders:
        if folder in _KIND_BY_FOLDER:
            return _KIND_BY_FOLDER[folder]
    return _KIND_BY_EXTENSION.get(PurePosixPath(name).suffix, "other")


def step(path: str) -> int | None:
    """The step of the checkpoint that a file belongs to, None for any other file."""
    number = None
    for folder in path.split("/")[:-1]:
        match = _STEP.fullmatch(folder)
        if match:
            number = int(match[1])
    return number


def steps(paths: Iterable[str]) -> list[int]:
    """The steps among files, ascending."""
    numbers = set()
    for path in paths:
        number = step(path)
        if number is not None:
            numbers.add(number)
    return sorted(numbers)


def select_steps(paths: Collection[str], requested: str | None) -> list[int]:
    """The steps that `requested` means: a number, "latest", "all", or None for the only one.

    Raises UsageError for a step without files, and for None where there are several steps.
    """
    available = steps(paths)
    listing = ", ".join(map(str, available)) or "none"
    if requested == "all":
        return available
    if requested == "latest" or (requested is None and len(available) == 1):
        return available[-1:]
    if requested is None:
        if available:
            raise UsageError(
                f"there are {len(available)} steps: {listing}",
                "add --step N, --step latest or --step all",
            )
        return []
    if requested not in map(str, available):
        raise UsageError(f"no step {shortened(requested)!r}", f"valid: {listing}, latest, all")
    return [int(requested)]


def select(paths: Collection[str], kinds: Collection[str], requested_step: str | None) -> list[str]:
    """The files of these kinds, in their order; of checkpoints only the requested steps.

    The record of the newest step (`latest`) comes only with that step. Raises UsageError.
    """
    if requested_step is not None and "checkpoint" not in kinds:
        raise UsageError("--step selects checkpoints", "leave it out, or add checkpoint to --what")
    checkpoints = [path for path in paths if kind(path) == "checkpoint"]
    selected_steps: list[int] = []
    if "checkpoint" in kinds:
        selected_steps = select_steps(checkpoints, requested_step)
    with_newest = selected_steps[-1:] == steps(checkpoints)[-1:]
    selected = []
    for path in paths:
        file_kind = kind(path)
        if file_kind not in kinds:
            continue
        if file_kind == "checkpoint":
            number = step(path)
            is_selected = with_newest if number is None else number in selected_steps
            if not is_selected:
                continue
        selected.append(path)
    return selected


def dataset_files(paths: Iterable[str], prefix: str) -> list[str]:
    """The files of one .bin/.idx pair, those below one folder, or one file.

    A pair may be in parts and have the suffix of Megatron's preprocess_data.py.
    """
    pattern = re.compile(
        re.escape(prefix)
        + r"(/.+|(_(text|content)_document)?\.(bin(\.[a-z]+|\.[0-9]+)?|idx|json))?"
    )
    return [path for path in paths if pattern.fullmatch(path)]


def part_groups(paths: Iterable[str]) -> dict[str, list[str]]:
    """Prefix → its parts in order, for every PREFIX.bin.aa (or .00), PREFIX.bin.ab and so on.

    PREFIX.bin.gz is not a part: a group has a first part, whose suffix is all `a` or all `0`.
    """
    paths_by_suffix: dict[str, dict[str, str]] = {}
    for path in paths:
        match = _PART.fullmatch(path)
        if match:
            paths_by_suffix.setdefault(match[1], {})[match[2]] = path
    groups = {}
    for prefix, parts in paths_by_suffix.items():
        if any(set(suffix) in ({"a"}, {"0"}) for suffix in parts):
            # longer suffixes follow shorter ones, see _PART
            order = sorted(parts, key=lambda suffix: (len(suffix), suffix))
            groups[prefix] = [parts[suffix] for suffix in order]
    return groups


def check_inside(path: str) -> str:
    """`path`, a relative path from outside, if it can be written in a folder.

    Raises HubError if it would leave the folder, lies in one of version control, or is too long.
    """
    parts = path.split("/")
    reason = ""
    if (
        _CONTROL_CHARACTERS.search(path)
        or any(part in ("", ".", "..") for part in parts)
        or _WINDOWS_DRIVE.match(path)
    ):
        reason = "would leave the folder"
    elif any(part.lower() in _VERSION_CONTROL for part in parts):
        reason = "lies in a folder of version control"
    elif (
        len(path.encode()) > _LONGEST_PATH_BYTES
        or max(len(part.encode()) for part in parts) > _LONGEST_NAME_BYTES
    ):
        reason = "is too long for a file system"
    if reason:
        raise HubError(
            f"the repository holds a file {path!r:.200}, which {reason}",
            "nothing was downloaded; report it to the repository's owner",
        )
    return path
