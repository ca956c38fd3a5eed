"""The built-in trainer, killed at a chosen moment of writing a checkpoint.

As a program: killed_trainer.py MOMENT STEP ARGUMENT …; STEP is the checkpoint's, MOMENT one of
MOMENTS or "after file N".
"""

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import pretrain_gpt
from encore import cli, files
from encore.checkpoints import step_folder, torch_file

MOMENTS = (
    "after file 1",
    "torn file",
    "after file 4",
    "before the rename",
    "before latest",
    "when it stands",
)


def kill_at(moment: str, step: int) -> None:
    """From now on, this process kills itself at that moment."""
    save, finish, write_text = torch_file.save, step_folder.finish, files.write_text
    count = 0

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def save_or_die(path: Path, value: object) -> None:
        nonlocal count
        if f"global_step{step}." in path.parent.name:
            count += 1
            if moment == "torn file" and count == 2:
                save(path, value)
                path.write_bytes(path.read_bytes()[:100])
                die()
        save(path, value)
        if moment == f"after file {count}":
            die()

    def finish_or_die(folder: Path, iteration: int) -> None:
        if iteration == step and moment == "before the rename":
            die()
        finish(folder, iteration)
        if iteration == step and moment == "when it stands":
            die()

    def write_text_or_die(target: Path, text: str) -> None:
        names_step = target.name == "latest" and text == f"global_step{step}"
        if names_step and moment == "before latest":
            die()
        write_text(target, text)

    torch_file.save = save_or_die
    step_folder.finish = finish_or_die
    files.write_text = write_text_or_die


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]))
    cli.run(lambda: pretrain_gpt.main(sys.argv[3:]))
