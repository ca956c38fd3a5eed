"""Where a run's files lie, below one workspace."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunPaths:
    """Every path of a run, below one workspace; as text, for they may lie on another machine.

    `folders` are the user's own places for a kind of file (`data`, `images`, …) instead of one in the workspace.
    """

    workspace: str
    run: str
    folders: tuple[tuple[str, str], ...] = ()

    def _folder(self, kind: str) -> str:
        return dict(self.folders).get(kind, f"{self.workspace}/{kind}")

    @property
    def data(self) -> str:
        """The corpora, as .bin/.idx."""
        return self._folder("data")

    @property
    def tokenizers(self) -> str:
        """One folder per tokenizer."""
        return self._folder("tokenizers")

    @property
    def images(self) -> str:
        """Container images."""
        return self._folder("images")

    @property
    def caches(self) -> str:
        """What may be deleted at any time."""
        return self._folder("caches")

    @property
    def logs(self) -> str:
        """Job logs; Slurm opens them before the script runs, so the folder has to be there at submission."""
        return self._folder("logs")

    @property
    def config(self) -> str:
        """What the job writes for its trainer: data-path files, DeepSpeed's configuration; and the kill switch."""
        return f"{self._folder('runs')}/{self.run}"

    @property
    def kill_switch(self) -> str:
        """A file whose appearance makes the trainer save and end."""
        return f"{self.config}/kill-switch"

    @property
    def checkpoints(self) -> str:
        """The run's global_stepN folders."""
        return f"{self._folder('checkpoints')}/{self.run}"

    @property
    def tensorboard(self) -> str:
        """The run's event files."""
        return f"{self._folder('tensorboard')}/{self.run}"


FOLDER_KINDS = (
    "data",
    "tokenizers",
    "images",
    "caches",
    "logs",
    "runs",
    "checkpoints",
    "tensorboard",
)
