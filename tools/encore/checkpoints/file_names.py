"""Names of Megatron-DeepSpeed's checkpoint files, and which of them a folder has. No torch here.

    FOLDER/latest                                               "global_step20", the newest
    FOLDER/global_step20/layer_01-model_00-model_states.pt      weights: layer, tensor rank
                         mp_rank_00_model_states.pt             arguments, counters: model rank
                         zero_pp_rank_0_mp_rank_00_optim_states.pt   optimizer: data, model rank

source: TurkuNLP 6732bc9 megatron/checkpointing.py, DeepSpeed 0.19.8 runtime/{engine,pipe/module}.py
"""

import re
from pathlib import Path

from encore import data_file
from encore.errors import UnreadableError

LATEST = "latest"

_STEP = re.compile(r"global_step([0-9]+)")
_LAYER = re.compile(r"layer_([0-9]+)-model_([0-9]+)-model_states\.pt")
_MODEL_STATES = re.compile(r"mp_rank_[0-9]+_model_states\.pt")
# in place of those above, with parts of the weights
_STAGE_3_STATES = re.compile(r"zero_pp_rank_[0-9]+_mp_rank_[0-9]+_model_states\.pt")
# DeepSpeed has written the name with and without the underscore before "optim"
_OPTIMIZER = re.compile(r"(?:bf16_|fp16_)?zero_pp_rank_([0-9]+)_mp_rank_([0-9]+)_?optim_states\.pt")


def step_folder_name(step: int) -> str:
    """The name of a step's folder."""
    return f"global_step{step}"


def step_number(name: str) -> int | None:
    """The step of a folder of that name, None where the name is no step folder's."""
    match = _STEP.fullmatch(name)
    if match is None:
        return None
    return int(match[1])


def layer_file(number: int, tensor_rank: int = 0) -> str:
    """The name of a layer's weight file."""
    return f"layer_{number:02d}-model_{tensor_rank:02d}-model_states.pt"


def model_states_file(model_rank: int = 0) -> str:
    """The name of a model rank's file of arguments and counters."""
    return f"mp_rank_{model_rank:02d}_model_states.pt"


def optimizer_file(data_rank: int, bf16: bool, model_rank: int = 0) -> str:
    """The name of an optimizer-state file; DeepSpeed's bf16 optimizer marks its own."""
    prefix = "bf16_" if bf16 else ""
    return f"{prefix}zero_pp_rank_{data_rank}_mp_rank_{model_rank:02d}_optim_states.pt"


def written_by_deepspeed(name: str) -> bool:
    """Whether DeepSpeed gives a file of a step folder this name."""
    patterns = (_LAYER, _MODEL_STATES, _STAGE_3_STATES, _OPTIMIZER)
    return any(pattern.fullmatch(name) for pattern in patterns)


def is_stage_3_states(name: str) -> bool:
    """Whether a file of that name has model states of ZeRO stage 3."""
    return _STAGE_3_STATES.fullmatch(name) is not None


def layer_files(step: Path) -> dict[int, list[Path]]:
    """The weight files by layer number, each layer's by tensor-parallel rank."""
    matches = []
    for name in entry_names(step):
        if match := _LAYER.fullmatch(name):
            matches.append((int(match[1]), int(match[2]), name))
    paths: dict[int, list[Path]] = {}
    for number, _, name in sorted(matches):
        paths.setdefault(number, []).append(step / name)
    return paths


def optimizer_files(step: Path) -> dict[tuple[int, int], Path]:
    """The optimizer-state files by (model rank, data rank)."""
    paths = {}
    for name in entry_names(step):
        if match := _OPTIMIZER.fullmatch(name):
            paths[int(match[2]), int(match[1])] = step / name
    return paths


def entry_names(folder: Path) -> list[str]:
    """The names in a folder, sorted; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir())


def latest(folder: Path) -> str | None:
    """The checkpoint that `latest` names, None where there is no such file or it names none.

    Raises UnreadableError for what is no file, and OSError.
    """
    try:
        name = data_file.read_text(folder / LATEST, UnreadableError).strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    if step_number(name) is None:
        return None
    return name
