"""The pinned wheels that an image installs, fetched by this machine's pip, kept for later builds.

A build then needs none of pip's configuration (index, certificates, proxies) inside the container,
and the next build needs no network.
"""

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

from encore import files, kit
from encore.errors import EncoreError

REQUIREMENTS = kit.CONTAINERS / "requirements"

# CPU builds of PyTorch: on its own index, and on mirrors that a machine's pip may be set up for
_TORCH = "cpu-torch"
_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
# what pip accepts in a base with glibc 2.28 or later
_PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
]

log = logging.getLogger(__name__)


def fetch(python: str, names: tuple[str, ...], cache: Path) -> Path:
    """A folder of the wheels that containers/requirements/NAME.txt pin, for one Python (`3.11`).

    pip accepts only the hashes in these files, here and again inside the build. Raises EncoreError.
    """
    folder = cache / f"python{python}-{_fingerprint(names)[:12]}"
    # written last: a folder without it was interrupted, and pip goes on from what it holds
    marker = folder / "complete"
    if marker.is_file():
        return folder
    log.info("fetching the requirements %s for Python %s", ", ".join(names), python)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        problem = _download(python, name, folder)
        if problem and name == _TORCH:
            problem = _download(python, name, folder, "--index-url", _TORCH_INDEX)
        if problem:
            raise EncoreError(
                f"cannot fetch containers/requirements/{name}.txt: {problem}",
                "see which index pip uses with: pip config list",
            )
    files.write_text(marker, "\n".join(names) + "\n")
    return folder


def _fingerprint(names: tuple[str, ...]) -> str:
    """A digest that changes when any of these requirement files does."""
    lines = [f"{name} {files.sha256(REQUIREMENTS / f'{name}.txt')}" for name in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _download(python: str, name: str, folder: Path, *index: str) -> str:
    """Run `pip download` for one requirement file; its last error, "" on success."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--require-hashes", *index]
    command += ["--implementation", "cp", "--python-version", python, "--dest", str(folder)]
    for platform in _PLATFORMS:
        command += ["--platform", platform]
    command += ["--requirement", str(REQUIREMENTS / f"{name}.txt")]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode == 0:
        return ""
    lines = process.stderr.splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return (errors or lines or [f"pip exit code {process.returncode}"])[-1]
