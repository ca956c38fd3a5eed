"""Command lines of the built-in trainer, from the genuine one of tests/data/megatron_tiny."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pretrain_gpt

TINY = Path(__file__).resolve().parents[1] / "data" / "megatron_tiny"
GENUINE = (TINY / "tp1" / "args.txt").read_text().split()
_OWN_FILES = ("--bf16", "--deepspeed", "--deepspeed_config", "--tensorboard-dir")


def genuine_arguments() -> dict[str, list[str]]:
    """The genuine command line, taken apart: each argument with its values."""
    values: dict[str, list[str]] = {}
    for text in GENUINE:
        if text.startswith("--"):
            current = values.setdefault(text, [])
        else:
            current.append(text)
    return values


def change(values: dict[str, list[str]], **changes: object) -> list[str]:
    """A command line with arguments set, added (True: a switch) or (None) removed."""
    options = {}
    for option in pretrain_gpt.build_parser()._option_string_actions:
        options[option.replace("-", "_")] = option
    changed = dict(values)
    for name, value in changes.items():
        option = options.get(f"__{name}", f"--{name.replace('_', '-')}")
        if value is None:
            changed.pop(option, None)
        else:
            changed[option] = [] if value is True else str(value).split()
    argv = []
    for option, words in changed.items():
        argv += [option, *words]
    return argv


def line(folder: Path, **changes: object) -> list[str]:
    """The genuine command line in fp32 and without DeepSpeed, in `folder`, with some changes."""
    for file in ("train_paths.txt", "valid_paths.txt"):
        text = (TINY / "tp1" / file).read_text().replace("data/", f"{TINY}/data/")
        (folder / file).write_text(text)
    values = genuine_arguments()
    for name in _OWN_FILES:
        del values[name]
    files = {
        "--vocab-file": TINY / "vocab.json",
        "--merge-file": TINY / "merges.txt",
        "--train-weighted-split-paths-path": folder / "train_paths.txt",
        "--valid-weighted-split-paths-path": folder / "valid_paths.txt",
        "--save": folder / "checkpoint",
        "--load": folder / "checkpoint",
        "--kill-switch-path": folder / "stop",
    }
    for name, path in files.items():
        values[name] = [str(path)]
    return change(values, **changes)


def with_deepspeed(folder: Path, **changes: object) -> dict[str, object]:
    """Changes for `line` that train with DeepSpeed; `changes` are to its configuration."""
    configuration = json.loads((TINY / "tp1" / "ds_config.json").read_text())
    del configuration["bf16"]
    (folder / "deepspeed.json").write_text(json.dumps(configuration | changes))
    return {"deepspeed": True, "deepspeed_config": folder / "deepspeed.json"}


class _Collector(logging.Handler):
    def __init__(self, on_line: Callable[[str], None]) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._on_line = on_line

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"warning: {text}"
        self.lines.append(text)
        self._on_line(text)


@contextlib.contextmanager
def trainer_log(on_line: Callable[[str], None] = lambda text: None) -> Iterator[list[str]]:
    """The lines that the trainer logs meanwhile, warnings marked; `on_line` is called with each."""
    log = logging.getLogger("encore.train")
    level = log.level
    collector = _Collector(on_line)
    log.addHandler(collector)
    log.setLevel(logging.INFO)
    try:
        yield collector.lines
    finally:
        log.removeHandler(collector)
        log.setLevel(level)
