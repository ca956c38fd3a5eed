"""The demo, run in a folder of its own as `make demo` runs it in the repository."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Demo:
    """A folder that holds `demo/`, made by tools/run_demo.py, and what that printed."""

    home: Path
    output: str
    talk: str


def run_demo(home: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo in `home`, as `make demo` does in the repository."""
    command = [sys.executable, str(ROOT / "tools" / "run_demo.py")]
    return subprocess.run(command, cwd=home, check=False, capture_output=True, text=True)
