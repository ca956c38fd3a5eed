"""Fixtures that several modules share: the finished demo, a hub on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hub_bench import Bench
from hub_server import running
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as tools/pretrain_gpt.py sets it, and why

settings.register_profile("untimed", deadline=None)  # machines are shared: no test may fail by the clock
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run once for all."""
    home = tmp_path_factory.mktemp("demo_home")
    ended = run_demo(home)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return Demo(home, ended.stdout, ended.stderr)


@pytest.fixture(scope="session")
def warm_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The command, ready to run against a hub on loopback, both started once for all."""
    with running() as hub:
        bench = Bench(hub, tmp_path_factory.mktemp("hub"))
        yield bench
        bench.close()


@pytest.fixture
def hub_bench(warm_bench: Bench, tmp_path: Path) -> Bench:
    """The same with an empty hub and an empty folder."""
    warm_bench.hub.reset()
    warm_bench.home = tmp_path
    return warm_bench
