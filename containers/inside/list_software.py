"""An image's software as CycloneDX JSON: `python list_software.py > software.cdx.json`.

Lists Debian's packages, Python's distributions, and the training programs with their commits.
"""

import importlib.metadata
import json
import shutil
import subprocess
from pathlib import Path

TRAINERS = Path(__file__).resolve().parents[1] / "trainers" / "trainers.json"


def component(name: str, version: str, purl: str) -> dict[str, str]:
    """One entry of the list; purl: https://github.com/package-url/purl-spec."""
    return {"type": "library", "name": name, "version": version, "purl": purl}


def debian_packages() -> list[dict[str, str]]:
    """What dpkg lists as installed; empty where there is no dpkg."""
    if not shutil.which("dpkg-query"):
        return []
    layout = "${Package}\t${Version}\t${Architecture}\n"
    listing = subprocess.run(
        ["dpkg-query", "-W", "-f", layout], check=True, capture_output=True, text=True
    )
    components = []
    for line in listing.stdout.splitlines():
        name, version, architecture = line.split("\t")
        purl = f"pkg:deb/{name}@{version}?arch={architecture}"
        components.append(component(name, version, purl))
    return components


def python_distributions() -> list[dict[str, str]]:
    """The distributions that this Python sees, each once, by normalized name."""
    versions = {}
    for distribution in importlib.metadata.distributions():
        versions[distribution.name.lower().replace("_", "-")] = distribution.version
    components = []
    for name, version in sorted(versions.items()):
        components.append(component(name, version, f"pkg:pypi/{name}@{version}"))
    return components


def training_programs() -> list[dict[str, str]]:
    """The training programs at their commits."""
    if not TRAINERS.is_file():
        return []
    components = []
    for folder, source in json.loads(TRAINERS.read_text(encoding="utf-8")).items():
        owner, repository = source["repository"].split("/")[-2:]
        purl = f"pkg:github/{owner}/{repository}@{source['commit']}"
        components.append(component(folder, source["commit"], purl))
    return components


def main() -> None:
    """Print the list."""
    components = [*debian_packages(), *python_distributions(), *training_programs()]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "components": components,
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
