"""Folders of checkpoints: the newest one, whether one is complete, and writing one. No torch here.

A checkpoint is written under a name that no reader takes for one (see encore.files) and renamed
when all of it is on disk; then `latest` is pointed at it. A kill at any moment leaves the one
before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encore import files
from encore.checkpoints import file_names, model_states, torch_zip
from encore.checkpoints.model_states import ModelStates
from encore.errors import CheckpointError, UnreadableError


@dataclass(frozen=True)
class NewestCheckpoint:
    """The newest complete checkpoint, None where there is none, and why others were passed over."""

    step: Path | None
    passed_over: tuple[str, ...]


def newest(folder: Path, optimizer: bool = True) -> NewestCheckpoint:
    """The checkpoint to resume from: the one `latest` names if it is complete, else the newest.

    optimizer: whether a complete one needs its optimizer states. Raises UnreadableError where one
    that would come first cannot be read now: to resume from an older one would replace it.
    """
    steps = {}
    for name in file_names.entry_names(folder):
        number = file_names.step_number(name)
        if number is not None:
            steps[number] = name
    # by number: step 10 is newer than step 9
    names = [steps[number] for number in sorted(steps, reverse=True)]
    latest = file_names.latest(folder)
    if latest is not None:
        names = [latest, *(name for name in names if name != latest)]
    passed_over: list[str] = []
    for name in names:
        problem = incomplete(folder / name, optimizer)
        if problem is None:
            return NewestCheckpoint(folder / name, tuple(passed_over))
        passed_over.append(f"{folder / name} is not complete: {problem}")
    return NewestCheckpoint(None, tuple(passed_over))


def incomplete(step: Path, optimizer: bool = True) -> str | None:
    """What a checkpoint lacks, or what of it is damaged; None when it can be used.

    All of its bytes are read. Raises UnreadableError.
    """
    if not step.is_dir():
        return "it does not exist"
    try:
        states = model_states.read(step)
        problem = missing_file(states, optimizer)
        if problem is None:
            check_bytes(states, optimizer)
        return problem
    except UnreadableError:
        raise
    except CheckpointError as error:
        return str(error)
    except OSError as error:
        raise torch_zip.unreadable(Path(error.filename or step), error) from None


def check_bytes(states: ModelStates, optimizer: bool = True) -> None:
    """Raises CheckpointError for a file whose bytes are not those that were written."""
    for name in _expected_files(states, optimizer):
        torch_zip.check(states.step / name)


def missing_file(states: ModelStates, optimizer: bool = True) -> str | None:
    """The first file of a checkpoint that is missing or torn, None when all are there.

    Raises UnreadableError where a file is in another format, or the layer files are not those of
    its trainer, and OSError where one cannot be read.
    """
    check_layer_files(states)
    for name in _expected_files(states, optimizer):
        path = states.step / name
        if not path.is_file():
            return f"{name} is missing"
        if torch_zip.is_torn(path):
            return f"{name} is torn"
    return None


def _expected_files(states: ModelStates, optimizer: bool) -> Iterator[str]:
    """The files that ranks wrote: layers once per tensor rank, states also per pipeline stage.

    source: DeepSpeed 0.19.8 runtime/pipe/module.py, ckpt_layer_path
    """
    for model_rank in range(states.model_ranks):
        yield file_names.model_states_file(model_rank)
        if optimizer and not states.holds_optimizer:
            for data_rank in range(states.data_ranks):
                yield file_names.optimizer_file(data_rank, states.bf16, model_rank)
    # runs without pipeline parallelism have their weights in the mp_rank files
    if not states.holds_weights:
        yield from _layer_file_names(states)


def _layer_file_names(states: ModelStates) -> Iterator[str]:
    for tensor_rank in range(states.tensor_parallel):
        for number in states.layer_numbers.values():
            yield file_names.layer_file(number, tensor_rank)


def check_layer_files(states: ModelStates) -> None:
    """Raises UnreadableError for layer files other than those that the arguments promise.

    Their trainer is not known then, so that nobody can say what is missing, or which rows are
    whose: the checkpoint may well be whole.
    """
    expected = set(_layer_file_names(states))
    for paths in file_names.layer_files(states.step).values():
        for path in paths:
            if path.name not in expected:
                raise UnreadableError(
                    f"{states.step} has {path.name}, which the trainer that its arguments are of"
                    f" ({states.trainer_format.title}) does not write for {states.num_layers}"
                    f" layers at tensor-parallel degree {states.tensor_parallel}",
                    "only the trainer that wrote it can go on with it; choose another step",
                )


def begin(folder: Path, iteration: int) -> Path:
    """Make the folder in which a checkpoint is written, and clear what killed runs left behind.

    An older version that a killed write had moved aside, and did not replace, gets its name back.
    """
    # of other steps, too: each is as large as a checkpoint, and nothing else would remove it
    for name in file_names.entry_names(folder):
        leftover = files.leftover(name)
        if leftover is not None and file_names.step_number(leftover[0]) is not None:
            files.clear_leftovers(folder / leftover[0])
    return files.begin_folder(folder / file_names.step_folder_name(iteration))


def unfinished(folder: Path, iteration: int) -> Path:
    """The folder that `begin` makes, for the processes that did not call it."""
    return files.unfinished_folder(folder / file_names.step_folder_name(iteration))


def finish(folder: Path, iteration: int) -> Path:
    """Give the checkpoint its name, then point `latest` at it; one of that name is replaced."""
    step = folder / file_names.step_folder_name(iteration)
    # in this order: `latest` must never name a checkpoint that is not on disk
    files.finish_folder(step)
    files.write_text(folder / file_names.LATEST, step.name)
    return step
