"""Folders of checkpoints: the newest one, whether one is complete, and writing one. No torch here.

A checkpoint is written under a name that no reader takes for one (see encore.files) and renamed
when all of it is on disk; then `latest` is pointed at it. A kill at any moment leaves the one
before.
"""

import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encore import data_file, files
from encore.checkpoints import file_names, inert_pickle, model_states
from encore.checkpoints.model_states import ModelStates
from encore.errors import CheckpointError, UnreadableError

# torch before 1.6 wrote no zip files
_OLD_FORMAT = b"\x80\x02"
# a zip file's directory ends within this many bytes of its end, the longest comment included
_DIRECTORY_BYTES = 1 << 17


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
    """What a checkpoint lacks, None when it is complete. Raises UnreadableError."""
    if not step.is_dir():
        return "it does not exist"
    try:
        return missing_file(model_states.read(step), optimizer)
    except UnreadableError:
        raise
    except CheckpointError as error:
        return str(error)
    except OSError as error:
        raise inert_pickle.unreadable(Path(error.filename or step), error) from None


def missing_file(states: ModelStates, optimizer: bool = True) -> str | None:
    """The first file of a checkpoint that is missing or torn, None when all are there.

    Raises CheckpointError where the states do not say which files there should be, or a file is in
    a format that is not known, UnreadableError where the layer files are not those of its trainer,
    and OSError where one cannot be read.
    """
    check_layer_files(states)
    for name in _expected_files(states, optimizer):
        path = states.step / name
        if not path.is_file():
            return f"{name} is missing"
        if is_torn(path):
            return f"{name} is torn"
    return None


def is_torn(path: Path) -> bool:
    """Whether a file of torch.save lacks its end, where its directory stands.

    Raises CheckpointError for torch's old format, which does not tell, and OSError.
    """
    data_file.check(path, UnreadableError)
    with open(path, "rb") as handle:
        if handle.read(len(_OLD_FORMAT)) == _OLD_FORMAT:
            raise CheckpointError(
                f"{path.name} is in torch's old format", "save it again with a torch from 1.6 on"
            )
        # is_zipfile says no where a file system fails; reading the same bytes says that it fails
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - _DIRECTORY_BYTES))
        handle.read()
        handle.seek(0, io.SEEK_SET)
        return not zipfile.is_zipfile(handle)


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
