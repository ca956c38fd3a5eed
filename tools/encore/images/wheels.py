"""The pinned wheels that an image installs, fetched on this machine with its own pip and kept for the next build.

So that a build needs nothing of pip's configuration (index, certificates, proxies), and the next one no network.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from encore import files
from encore.errors import EncoreError
from encore.images import definition

REQUIREMENTS = definition.FOLDER / "requirements"
# in requirements of this name: PyTorch's own index, for a machine whose pip finds no CPU build elsewhere
_TORCH, _TORCH_INDEX = "cpu-torch", "https://download.pytorch.org/whl/cpu"
# all Linux wheels that a base of today (glibc 2.28 and later) takes
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
_PLATFORMS += [f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")]


def fetch(python: str, names: tuple[str, ...], cache: Path) -> Path:
    """A folder with what the requirement files of these names pin, for one Python; raises EncoreError.

    Only hashes that the files name are accepted, by pip here and again inside the build.
    """
    folder = cache / f"python{python}-{_fingerprint(names)[:12]}"
    done = folder / "complete"
    if done.is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        problem = _download(python, name, folder, [])
        if problem and name == _TORCH:
            problem = _download(python, name, folder, ["--index-url", _TORCH_INDEX])
        if problem:
            raise EncoreError(
                f"containers/requirements/{name}.txt cannot be fetched: {problem}",
                "check pip's index",
            )
    files.write_text(done, "\n".join(names) + "\n")
    return folder


def _fingerprint(names: tuple[str, ...]) -> str:
    pinned = "\n".join(f"{name} {files.sha256(REQUIREMENTS / f'{name}.txt')}" for name in names)
    return hashlib.sha256(pinned.encode()).hexdigest()


def _download(python: str, name: str, folder: Path, index: list[str]) -> str:
    """Run pip; its last error, empty when it went well."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        *index,
    ]
    command += ["--implementation", "cp", "--python-version", python, "--dest", str(folder)]
    command += [part for platform in _PLATFORMS for part in ("--platform", platform)]
    done = subprocess.run(
        [*command, "-r", str(REQUIREMENTS / f"{name}.txt")], capture_output=True, text=True
    )
    lines = [
        line for line in done.stderr.splitlines() if line.startswith("ERROR")
    ] or done.stderr.splitlines()
    return (
        (lines or [f"pip exit {done.returncode}"])[-1].removeprefix("ERROR: ")
        if done.returncode
        else ""
    )
