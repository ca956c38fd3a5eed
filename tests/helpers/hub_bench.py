"""What the tests of the Hub's modules share: a hub on loopback and the command run against it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from helpers.hub_server import TOKEN, Hub

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """A run that ended: code (negative: by that signal), what it printed, how long it took."""

    code: int
    out: str
    err: str
    seconds: float


class Bench:
    """Runs tools/hub.py in a child of a warm process, in `home`."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.hub, self.home = hub, home
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",  # there is no Xet storage on loopback
            "HF_HOME": str(home / "hf_home"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "HF_TOKEN": TOKEN,
        }
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hub_nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run(
        self,
        *argv: str,
        cwd: Path | None = None,
        signal: int = 0,
        after_s: float = 0.0,
        when: Path | None = None,
        **env: str,
    ) -> Ended:
        """Run the command; `signal` is sent `after_s`, or as soon as the file `when` is there."""
        out, err = self.home / "out", self.home / "err"
        run: dict[str, Any] = {"argv": argv, "cwd": str(self.home), "env": env, "signal": signal}
        run["when"] = str(when) if when else None
        run |= {"after_s": after_s, "out": str(out), "err": str(err)}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(run) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return Ended(answer["code"], out.read_text(), err.read_text(), answer["seconds"])

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def some_bytes(seed: int, count: int) -> bytes:
    return Random(seed).randbytes(count)


def below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that is not hidden, with its bytes."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if not any(p.startswith(".") for p in name.split("/"))
    }
