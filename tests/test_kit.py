"""The package runs from its repository, and says so elsewhere."""

import shutil
import subprocess
import sys
from pathlib import Path

from encore import kit


def test_the_package_alone_fails_at_import_with_one_sentence(tmp_path: Path) -> None:
    shutil.copytree(kit.ROOT / "tools" / "encore", tmp_path / "encore")
    command = [sys.executable, "-c", "from encore.registry.models import load_models"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "runs from a clone of its repository" in ended.stderr
