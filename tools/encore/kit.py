"""Where the kit's own folders lie: beside the package, in the repository that the package is run
from.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = ROOT / "registry"
TEMPLATES = ROOT / "templates"
CONTAINERS = ROOT / "containers"

# A wheel would carry the package without them, and every command would fail later and less clearly.
if not REGISTRY.is_dir():
    raise ImportError(
        f"{ROOT} has no registry/: encore runs from a clone of its repository, not from a wheel;"
        " clone it and run `pip install -e .` there"
    )
