"""The software list of an image, as CycloneDX JSON on stdout: `python list_software.py > software.cdx.json`.

Debian's packages, Python's distributions and the training programs with their commits.
"""

import importlib.metadata
import json
import shutil
import subprocess
from pathlib import Path

TRAINERS = Path(__file__).resolve().parents[1] / "trainers" / "trainers.json"


def component(name: str, version: str, purl: str) -> dict[str, str]:
    """One entry."""
    return {"type": "library", "name": name, "version": version, "purl": purl}


def debian() -> list[dict[str, str]]:
    """What dpkg lists as installed; nothing where there is no dpkg."""
    if not shutil.which("dpkg-query"):
        return []
    layout = "${Package}\t${Version}\t${Architecture}\n"
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", layout], check=True, capture_output=True, text=True
    ).stdout
    rows = (line.split("\t") for line in listed.splitlines())
    return [
        component(name, version, f"pkg:deb/{name}@{version}?arch={arch}")
        for name, version, arch in rows
    ]


def python() -> list[dict[str, str]]:
    """The distributions that this Python sees, each once."""
    found = {
        dist.name.lower().replace("_", "-"): dist.version
        for dist in importlib.metadata.distributions()
    }
    return [
        component(name, version, f"pkg:pypi/{name}@{version}")
        for name, version in sorted(found.items())
    ]


def trainers() -> list[dict[str, str]]:
    """The training programs at their commits."""
    installed = json.loads(TRAINERS.read_text(encoding="utf-8")) if TRAINERS.is_file() else {}
    places = {
        name: "/".join(source["repository"].split("/")[-2:]) for name, source in installed.items()
    }
    return [
        component(name, source["commit"], f"pkg:github/{places[name]}@{source['commit']}")
        for name, source in installed.items()
    ]


def main() -> None:
    """Print the list."""
    components = debian() + python() + trainers()
    print(
        json.dumps(
            {
                "bomFormat": "CycloneDX",
                "specVersion": "1.5",
                "version": 1,
                "components": components,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
