"""Whether a trainer that counts steps would train what its run was planned for, if it resumed.

A job script carries this file's text into the container, so that it imports nothing else. Its
arguments are the trainer's; what the last checkpoint in --load does not go with is an error.
"""

import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any


class Inert:
    """In place of whatever a checkpoint names: nothing of it is imported or called."""

    def __init__(self, *values: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {})

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None:
        """What pickle calls for a list's own kinds, as the one above for a dictionary's."""


class Reader(pickle.Unpickler):
    """Reads plain values, and an Inert for each other one."""

    def find_class(self, module: str, name: str) -> type[Inert]:
        """The class of an object."""
        return Inert

    def persistent_load(self, pid: Any) -> None:
        """The bytes of a tensor, which stay where they are."""


def problem(path: Path, own: dict[str, str]) -> str:
    """Why the checkpoint with this mp_rank file does not go with the arguments; "" if it does."""
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(name) as file:
            states = Reader(file).load()
    step, saved = states["iteration"], states["args"]
    saved = saved if type(saved) is dict else vars(saved)
    batch, consumed = int(own["global_batch_size"]), saved["consumed_train_samples"]
    if step * batch != consumed:
        return (
            f"its {step} steps took {consumed} samples, with global_batch_size {batch} it would be"
            f" {step * batch}: the trainer counts steps, and would train another amount of data"
        )
    for name in ("train_samples", "seq_length", "seed"):
        if name in own and saved.get(name) not in (None, int(own[name])):
            return f"its {name} is {saved[name]}, the job's {own[name]}: samples would be others"
    return ""


def refusal(arguments: list[str]) -> str:
    """Why the trainer must not resume with these arguments; "" where it may."""
    own = {}
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        own[option.lstrip("-").replace("-", "_")] = value
    folder = Path(own["load"])
    path = folder / (folder / "latest").read_text().strip() / "mp_rank_00_model_states.pt"
    hint = "render the job with the settings that it was trained with"
    try:
        reason = problem(path, own)
    except Exception as error:  # a torn file can mislead the reader in any way
        reason = f"it cannot be read: {error!r}"
        hint = f"write the name of a whole one into {folder}/latest"
    return f"{path.parent} cannot be resumed: {reason}; {hint}" if reason else ""


if __name__ == "__main__":
    text = refusal(sys.argv[1:])
    sys.exit(f"error: {text}" if text else 0)
