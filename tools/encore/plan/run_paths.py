"""Where a run's files lie, below one workspace."""

from dataclasses import dataclass

# The kinds of files whose folder a user may place outside the workspace.
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


@dataclass(frozen=True)
class RunPaths:
    """Every path of a run, as text: the files may be on another machine.

    folders: the user's own folder for a kind of files (`data`, `images`, …), outside the workspace.
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
        """Job logs; the folder must exist at submission, for Slurm opens them before the script."""
        return self._folder("logs")

    @property
    def config(self) -> str:
        """What the job writes for its trainer: data paths, DeepSpeed's configuration."""
        return f"{self._folder('runs')}/{self.run}"

    @property
    def kill_switch(self) -> str:
        """The file whose appearance makes the trainer save and exit."""
        return f"{self.config}/kill-switch"

    @property
    def checkpoints(self) -> str:
        """The run's global_stepN folders."""
        return f"{self._folder('checkpoints')}/{self.run}"

    @property
    def tensorboard(self) -> str:
        """The run's event files."""
        return f"{self._folder('tensorboard')}/{self.run}"
