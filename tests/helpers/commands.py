"""Commands run in the tests' own process: what a shell would see, without starting Python anew."""

import contextlib
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from encore import cli


def run_command(
    tool: str, *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run tools/TOOL.py with these arguments: its exit code, stdout and stderr.

    Not for what a command decides when it is imported: that needs a process of its own.
    """
    module = importlib.import_module(tool)
    words = [str(word) for word in arguments]
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.TextIOWrapper(
        io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    old_environment = dict(os.environ)
    old_folder = Path.cwd()
    old_argv = sys.argv
    code = 0
    try:
        os.environ.clear()
        os.environ.update(old_environment if env is None else env)
        os.chdir(cwd or old_folder)
        sys.argv = [f"tools/{tool}.py", *words]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.run(lambda: module.main(words))
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os.environ.clear()
        os.environ.update(old_environment)
        os.chdir(old_folder)
        sys.argv = old_argv
    shown = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess([tool, *words], code, *shown)
