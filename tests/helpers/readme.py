"""README.md: its blocks, and the output of commands that it shows.

`make render` runs this file and refreshes that output; test_readme.py compares it.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
_CONSOLE = re.compile(r"^```console\n\$ (.*?)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """The contents of the README's blocks of a language."""
    pattern = rf"^```{language}\n(.*?)^```"
    return re.findall(pattern, README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def shown_output() -> list[tuple[str, str]]:
    """Each command that the README shows with its output, and that output."""
    return _CONSOLE.findall(README.read_text(encoding="utf-8"))


def output(command: str) -> str:
    """What a command prints on a machine whose user has configured nothing."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": home,
        }
        shell = ["bash", "-c", f"set -o pipefail; {command}"]
        ended = subprocess.run(
            shell, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return ended.stdout


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    for command, shown in shown_output():
        text = text.replace(f"$ {command}\n{shown}", f"$ {command}\n{output(command)}")
    README.write_text(text, encoding="utf-8")
