"""Put training programs into an image: `python install_trainers.py TRAINER...`, inside the build.

Clones each objective's commit of a trainer of registry/trainers.yml, unmodified, to
/opt/encore/trainers/TRAINER-OBJECTIVE, and compiles its data helpers and, with
ENCORE_KERNELS=compile, its fused kernels. trainers.json beside the clones lists them: encore_compat
reads it to recognise a fork. Needs git and a C++ compiler.
"""

import json
import subprocess
import sys
from pathlib import Path

TRAINERS = Path(__file__).resolve().parents[1] / "trainers"
sys.path.insert(0, str(TRAINERS / "builtin-causal" / "tools"))

from encore.registry.trainers import load_trainers  # noqa: E402


def git(folder: Path, *words: str) -> str:
    """What git prints in `folder`; raises CalledProcessError."""
    process = subprocess.run(
        ["git", "-C", folder, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return process.stdout.strip()


def clone(repository: str, commit: str, folder: Path) -> None:
    """Check out `commit` of the repository in `folder`; exits when another commit was fetched."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    git(folder, "fetch", "--quiet", "--depth=1", repository, commit)
    git(folder, "-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD")
    head = git(folder, "rev-parse", "HEAD")
    if head != commit:
        raise SystemExit(f"error: {repository} delivered commit {head}, not {commit}")


def main() -> None:
    """Clone, list, compile."""
    installed = {}
    for name in sys.argv[1:]:
        trainer = load_trainers()[name]
        for objective, pin in trainer.commits.items():
            source = {"repository": trainer.repository, "commit": pin.commit}
            installed[f"{name}-{objective}"] = source
    for folder, source in installed.items():
        clone(source["repository"], source["commit"], TRAINERS / folder)
    # before anything is compiled: encore_compat redirects the compilers, for the forks listed here
    listing = json.dumps(installed, indent=2) + "\n"
    (TRAINERS / "trainers.json").write_text(listing, encoding="utf-8")
    for folder in installed:
        command = [sys.executable, "-m", "encore_compat.extensions", TRAINERS / folder]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
