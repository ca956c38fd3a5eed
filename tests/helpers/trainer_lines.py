"""Command lines of the built-in trainer, from the genuine one of tests/data/megatron_tiny."""

import json
from pathlib import Path

from encore.train import arguments

TINY = Path(__file__).resolve().parents[1] / "data" / "megatron_tiny"
GENUINE = (TINY / "tp1" / "args.txt").read_text().split()


def line(folder: Path, **changes: object) -> list[str]:
    """The genuine command line in fp32 and without DeepSpeed, in `folder`, with some arguments changed."""
    for file in ("train_paths.txt", "valid_paths.txt"):
        text = (TINY / "tp1" / file).read_text().replace("data/", f"{TINY}/data/")
        (folder / file).write_text(text)
    values: dict[str, list[str]] = {}
    for text in GENUINE:
        if text.startswith("--"):
            current = values.setdefault(text, [])
        else:
            current.append(text)
    for name in ("--bf16", "--deepspeed", "--deepspeed_config", "--tensorboard-dir"):
        del values[name]
    files = {"--vocab-file": TINY / "vocab.json", "--merge-file": TINY / "merges.txt"}
    files |= {
        f"--{kind}-weighted-split-paths-path": folder / f"{kind}_paths.txt"
        for kind in ("train", "valid")
    }
    files |= {
        "--save": folder / "checkpoint",
        "--load": folder / "checkpoint",
        "--kill-switch-path": folder / "stop",
    }
    values |= {name: [str(path)] for name, path in files.items()}
    known = {
        option.replace("-", "_"): option
        for option in arguments.build_parser(None)._option_string_actions
    }
    for name, value in changes.items():
        option = known.get(f"__{name}", f"--{name.replace('_', '-')}")
        values[option] = [] if value is True else str(value).split()
        if value is None:
            del values[option]
    return [text for option, found in values.items() for text in (option, *found)]


def with_deepspeed(folder: Path, micro_batch_size: int = 2, **changes: object) -> dict[str, object]:
    configuration = json.loads((TINY / "tp1" / "ds_config.json").read_text())
    del configuration["bf16"]
    (folder / "deepspeed.json").write_text(json.dumps(configuration | changes))
    return {"deepspeed": True, "deepspeed_config": folder / "deepspeed.json"}
