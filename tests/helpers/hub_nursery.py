"""Runs tools/hub.py many times a second: a process that has imported everything forks for each run.

Reads a JSON line per run (argv, cwd, env; signal, and after how long or when which file appears) on
stdin, and answers with one (code, seconds). The child is a process of its own that runs the
command's own main, so that a SIGKILL ends it as it would end any.
"""

import contextlib
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 1 << 16


def load() -> ModuleType:
    sys.path.insert(0, str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("hub_command", ROOT / "tools" / "hub.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from encore.curves import losses  # noqa: F401 — slow imports, once
    from encore.errors import HubError
    from encore.hub import client
    from encore.hub_library import library

    with contextlib.suppress(HubError):
        client.resolve_commit(client.Repository("nobody/nothing"))  # the first request imports more
    # the library hands on whole chunks of 10 MiB; small ones, so that faults and kills hit between
    library().constants.DOWNLOAD_CHUNK_SIZE = BLOCK
    return module


def child(command: ModuleType, run: dict[str, Any]) -> None:
    os.chdir(run["cwd"])
    os.environ.update(run["env"])
    for name, number in (("out", 1), ("err", 2)):
        opened = os.open(run[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
    code = 70
    try:
        from encore import cli

        cli.run(lambda: command.main(run["argv"]))
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(pid: int, run: dict[str, Any], started: float) -> int:
    """The exit code; negative the signal that ended it."""
    sent = not run["signal"]
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        due = (
            Path(run["when"]).exists()
            if run["when"]
            else time.monotonic() >= started + run["after_s"]
        )
        if due and not sent:
            os.kill(pid, run["signal"])
            sent = True
        time.sleep(0.002)


def serve() -> None:
    command = load()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for line in sys.stdin:
        run = json.loads(line)
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            child(command, run)
        code = wait(pid, run, started)
        sys.__stdout__.write(
            json.dumps({"code": code, "seconds": time.monotonic() - started}) + "\n"
        )
        sys.__stdout__.flush()


if __name__ == "__main__":
    serve()
