"""Put training programs into an image: `python install_trainers.py TRAINER...`, inside the build.

For each objective of a trainer of registry/trainers.yml: its repository at the pinned commit, unmodified, in
/opt/encore/trainers/TRAINER-OBJECTIVE; its data helpers and, with ENCORE_KERNELS=compile, its kernels compiled.
trainers.json beside them says what lies where; encore_compat goes by it. Needs git and a C++ compiler.
"""

import json
import subprocess
import sys
from pathlib import Path

TRAINERS = Path(__file__).resolve().parents[1] / "trainers"
sys.path.insert(0, str(TRAINERS / "builtin-causal" / "tools"))

from encore import registry  # noqa: E402


def clone(repository: str, commit: str, folder: Path) -> None:
    """The repository at `commit` in `folder`; raises where that is not what was fetched."""
    folder.mkdir(parents=True)
    for command in (
        ("init", "--quiet"),
        ("fetch", "--quiet", "--depth=1", repository, commit),
        ("-c", "advice.detachedHead=false", "checkout", "--quiet", "FETCH_HEAD"),
    ):
        subprocess.run(["git", "-C", folder, *command], check=True)
    found = subprocess.run(
        ["git", "-C", folder, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    if found.stdout.strip() != commit:
        raise SystemExit(f"error: {repository} gave {found.stdout.strip()}, not {commit}")


def main() -> None:
    """Clone, record, compile."""
    known = registry.trainers()
    pins = [
        (known[name], objective, pin)
        for name in sys.argv[1:]
        for objective, pin in known[name].commits.items()
    ]
    record = TRAINERS / "trainers.json"
    installed = {
        f"{trainer.name}-{objective}": {"repository": trainer.repository, "commit": pin.commit}
        for trainer, objective, pin in pins
    }
    for folder, source in installed.items():
        clone(source["repository"], source["commit"], TRAINERS / folder)
    # before the compilers run: encore_compat, which redirects them, goes by it
    record.write_text(json.dumps(installed, indent=2) + "\n", encoding="utf-8")
    for folder in installed:
        subprocess.run(
            [sys.executable, "-m", "encore_compat.extensions", TRAINERS / folder], check=True
        )


if __name__ == "__main__":
    main()
