"""Bad inputs of tools/pretrain_gpt.py."""

import shutil
from pathlib import Path

from helpers.bad_inputs import (
    CHOICE,
    COUNT,
    INPUT_FILE,
    INTEGER,
    NOTHING,
    NUMBER,
    Kind,
    Table,
    row,
    spoiled,
)
from helpers.trainer_lines import TINY

_PATHS_FILES = {
    "no-quotes": "train: 1.0 0:0.9 data/pair\n",
    "no-colon": '"train 1.0 0:0.9 data/pair"\n',
    "no-weight": '"train: 0:0.9 data/pair"\n',
    "nan-weight": '"train: nan 0:0.9 data/pair"\n',
    "negative": '"train: -1 0:0.9 data/pair"\n',
    "zero": '"train: 0 0:0.9 data/pair"\n',
    "reversed": '"train: 1.0 0.9:0 data/pair"\n',
    "beyond": '"train: 1.0 0:2 data/pair"\n',
    "empty-split": '"train: 1.0 0.5:0.5 data/pair"\n',
    "missing-data": '"train: 1.0 0:1 data/missing"\n',
    "two": '"train: 1.0 0:1 data/pair" "other: 1.0 0:1 data/pair"\n',
    "noise-pair": '"train: 1.0 0:1 data/noise"\n',
    "half-pair": '"train: 1.0 0:1 data/half"\n',
}


def prepare(folder: Path) -> None:
    """What a short training needs, and each of its files spoiled."""
    # its import takes seconds
    from encore.train import loop  # noqa: F401

    (folder / "data").mkdir()
    pair = TINY / "data" / "tiny_text_document"
    for suffix in (".bin", ".idx"):
        shutil.copy(f"{pair}{suffix}", folder / "data" / f"pair{suffix}")
        for kind in ("half", "noise"):
            data = spoiled(pair.with_suffix(suffix).read_bytes())[kind]
            (folder / "data" / f"{kind}{suffix}").write_bytes(data)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(TINY / name, folder)
    (folder / "half.json").write_bytes((TINY / "vocab.json").read_bytes()[:1000])
    (folder / "train.txt").write_text('"train: 1.0 0:0.9 data/pair"\n')
    for name, text in _PATHS_FILES.items():
        (folder / f"{name}.txt").write_text(text)
    step = TINY / "tp1" / "checkpoint"
    shutil.copytree(step, folder / "run")
    for kind, data in spoiled(b"").items():
        shutil.copytree(step, folder / f"run-{kind}")
        states = folder / f"run-{kind}" / "global_step20" / "mp_rank_00_model_states.pt"
        states.write_bytes(data)
    (folder / "gpt2").mkdir()
    for kind, data in spoiled(b"").items():
        (folder / f"config-{kind}").write_bytes(data)


# these name the data, not the file that names it
_DATA = {"missing-data": "data/missing", "noise-pair": "data/noise", "half-pair": "data/half"}
_LINE = (
    "--num-layers 2 --hidden-size 32 --num-attention-heads 4 --seq-length 64"
    " --max-position-embeddings 64 --micro-batch-size 2 --global-batch-size 8 --train-samples 8"
    " --vocab-file vocab.json --merge-file merges.txt --lr 2e-3 --log-interval 1"
    " --train-weighted-split-paths-path train.txt"
)
_SPLITS = INPUT_FILE.but("user").also(
    1, *(f"{name}.txt" for name in _PATHS_FILES if name not in _DATA)
)

TABLE = Table(
    tool="pretrain_gpt",
    prepare=prepare,
    lines={"": _LINE},
    kinds={
        "--train-weighted-split-paths-path": _SPLITS,
        "--valid-weighted-split-paths-path": INPUT_FILE.but("user"),
        "--test-weighted-split-paths-path": INPUT_FILE.but("user"),
        "--vocab-file": INPUT_FILE.but("user").also(1, "half.json", "list.json"),
        "--merge-file": NOTHING,
        "--tokenizer-name-or-path": NOTHING,
        "--kill-switch-path": NOTHING,
        "--position-embedding-type": CHOICE,
        "--eval-only": CHOICE,
        "--save": NOTHING,
        "--load": Kind({}),
        "--tensorboard-dir": NOTHING,
        "--deepspeed_config": NOTHING,
        "--dump-samples": NOTHING,
        "--seed": COUNT,
        "--min-lr": NUMBER.but("negative"),
        "--local_rank": INTEGER,
        "--lr-warmup-samples": INTEGER,
        "--eval-iters": INTEGER,
        "--tensorboard-queue-size": INTEGER,
        "--num-workers": INTEGER,
        "--valid-num-workers": INTEGER,
    },
    rows=(
        row("", 2, "--num-layers"),
        row(f"{_LINE} more", 2, "more"),
        row(f"{_LINE} --no-such", 2, "--no-such"),
        row(f"{_LINE} --rampup-batch-size 1 1 1", 2, "--rampup-batch-size"),
        row(f"{_LINE} --dump-samples 8", 2, "--dump-samples"),
        row(f"{_LINE} --dump-samples many out.npz", 2, "many"),
        row(f"{_LINE} --dump-samples 0 out.npz", 2, "0"),
        row(f"{_LINE} --dump-samples -1 out.npz", 2, "-1"),
        row(f"{_LINE} --dump-samples 1 file/out.npz", 1, "file"),
        row(f"{_LINE} --load missing --finetune", 1, "missing"),
        *(row(f"{_LINE} --load run-{kind} --finetune", 1, f"run-{kind}") for kind in spoiled(b"")),
        *(
            row(f"{_LINE} --deepspeed --deepspeed_config config-{kind}", 1, f"config-{kind}")
            for kind in spoiled(b"")
        ),
        *(row(_LINE.replace("train.txt", f"{name}.txt"), 1, data) for name, data in _DATA.items()),
        row(f"{_LINE} --deepspeed --deepspeed_config missing", 1, "missing"),
        row(f"{_LINE} --deepspeed", 2, "--deepspeed_config"),
        row(_LINE, 2, "WORLD_SIZE", WORLD_SIZE="abc"),
        row(_LINE, 2, "WORLD_SIZE", WORLD_SIZE="0"),
        row(_LINE, 2, "WORLD_SIZE", WORLD_SIZE=""),
        row(f"{_LINE} --tokenizer-type PretrainedFromHF", 2, "--tokenizer-name-or-path"),
        row(
            f"{_LINE} --tokenizer-type PretrainedFromHF --tokenizer-name-or-path missing",
            1,
            "missing",
        ),
    ),
)
