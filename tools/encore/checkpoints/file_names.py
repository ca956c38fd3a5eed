"""Names of Megatron-DeepSpeed's checkpoint files, and which of them a folder has. No torch here."""

import re
from pathlib import Path

MODEL_STATES = "mp_rank_{:02d}_model_states.pt"


_LAYER = "layer_{:02d}-model_{:02d}-model_states.pt"


_LAYER_PATTERN = re.compile(r"layer_(\d+)-model_(\d+)-model_states\.pt")


_OPTIMIZER_PATTERN = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_(\d+)_?optim_states\.pt")


STEP = re.compile(r"global_step([0-9]+)")


def layer_files(step: Path) -> dict[int, list[Path]]:
    """The weight files by layer number, each layer's by tensor-parallel rank."""
    found = [match for name in _names(step) if (match := _LAYER_PATTERN.fullmatch(name))]
    parts: dict[int, list[Path]] = {}
    for match in sorted(found, key=lambda match: (int(match[1]), int(match[2]))):
        parts.setdefault(int(match[1]), []).append(step / match[0])
    return parts


def optimizer_files(step: Path) -> dict[tuple[int, int], Path]:
    """The optimizer-state files by (model rank, data rank), under the names that DeepSpeed has used."""
    found = [match for name in _names(step) if (match := _OPTIMIZER_PATTERN.fullmatch(name))]
    return {(int(match[2]), int(match[1])): step / match[0] for match in found}


def optimizer_file(data_rank: int, bf16: bool, model_rank: int = 0) -> str:
    """The name of an optimizer-state file, as DeepSpeed calls it."""
    return f"{'bf16_' if bf16 else ''}zero_pp_rank_{data_rank}_mp_rank_{model_rank:02d}_optim_states.pt"


def layer_file(number: int, tensor_rank: int = 0) -> str:
    """The name of a layer's weight file."""
    return _LAYER.format(number, tensor_rank)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def latest(folder: Path) -> str | None:
    """The name of the checkpoint that `latest` names, None where there is no such file or it names nothing."""
    try:
        name = (folder / "latest").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return name if STEP.fullmatch(name) else None
