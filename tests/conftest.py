"""Fixtures that several modules share: the finished demo, a hub on loopback, a real Slurm.

Under CI the Slurm is set up by playbooks/setup_local.yml, as root, and a test that cannot run
fails. Elsewhere a Slurm that the playbook has set up earlier is used as it is; without one the
tests that need it are reported as not run.
"""

import os
import pwd
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from encore import cli
from helpers.demo_home import Demo, run_demo
from helpers.hub_bench import Bench
from helpers.hub_server import running
from helpers.local_machine import (
    UNDER_CI,
    LocalSlurm,
    User,
    not_run,
    play_local,
    runs_as_root,
    slurm_is_there,
)
from hypothesis import settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as tools/pretrain_gpt.py sets it, and why
if "PYTEST_XDIST_WORKER" in os.environ:
    # each process of the tests has a core: threads of several would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# machines are shared: no test may fail by the clock
settings.register_profile("untimed", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)  # make check
settings.load_profile("untimed")

_SLOW_FOLDERS = {"cluster", "containers"}
# hub_bench is a server, and a process that forks one for each command
_SLOW_FIXTURES = {"demo", "local_slurm", "browser", "hub_bench"}
# Tests that share one Slurm, or one finished demo, run in one process and in their order. The
# Slurm comes first: only one process may set it up, while a demo can be made twice.
_GROUPS = {"local_slurm": "cluster", "demo": "demo"}
_LAST = "test_what_was_set_up_is_taken_away"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make check` leaves out and what shares a process; the longest come first."""
    slow_files = set()
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if _SLOW_FOLDERS & set(item.path.parts) or _SLOW_FIXTURES & fixtures:
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("slow"):
            slow_files.add(item.path)
        if item.get_closest_marker("xdist_group"):
            continue
        group = str(item.path)  # the fixtures of a file are made once
        for fixture, name in _GROUPS.items():
            if fixture in fixtures or name in item.path.parts:
                group = name
                break
        item.add_marker(pytest.mark.xdist_group(group))
    # no process is left alone with a long file at the end; the tear-down of the Slurm is last
    items.sort(key=lambda item: (item.name == _LAST, item.path not in slow_files))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail where groups have no effect: processes would meet at the Slurm that one sets up."""
    # pytest-xdist writes the group behind the node id, and only there
    if "PYTEST_XDIST_WORKER" in os.environ and "@" not in item.nodeid:
        pytest.fail(
            f"this test is in no group: pytest {pytest.__version__} and this pytest-xdist do not"
            " fit each other, or --dist=loadgroup is missing",
            pytrace=False,
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Spell out what is not Unicode in what a test printed: names of files may be any bytes, and
    pytest-xdist can only pass Unicode from one process to another.
    """
    report = yield
    sections = []
    for title, text in report.sections:
        sections.append((title, text.encode("utf-8", "backslashreplace").decode()))
    report.sections = sections
    return report


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


@pytest.fixture(scope="session")
def local_slurm() -> LocalSlurm:
    """A running Slurm of two virtual nodes; set up under CI, else the one that is there."""
    if UNDER_CI:
        if not runs_as_root():
            not_run("setting up Slurm needs root")
        play_local().ok()
    elif not slurm_is_there():
        not_run(
            "no Slurm of playbooks/setup_local.yml runs here;"
            " apply that playbook as root to run the cluster tests"
        )
    name = "encore" if runs_as_root() else pwd.getpwuid(os.geteuid()).pw_name
    return LocalSlurm(User(name, Path(pwd.getpwnam(name).pw_dir)))


@pytest.fixture(autouse=True, scope="session")
def _talk() -> None:
    """Commands that a test calls in its own process talk on stderr, as they do under cli.run."""
    cli.show_log()
