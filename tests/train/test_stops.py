"""Reasons to end before the last step."""

import argparse
import os
import signal
import time
from pathlib import Path

from encore.train.stops import Stops


def args(**values: object) -> argparse.Namespace:
    return argparse.Namespace(
        **{"exit_duration_in_mins": None, "exit_interval": None, "kill_switch_path": None} | values
    )


def test_without_a_reason_a_run_goes_on() -> None:
    assert Stops(args(), time.monotonic() - 10**6).reason(1) is None


def test_the_clock_stops_after_its_minutes_alone() -> None:
    now = time.monotonic()
    assert Stops(args(exit_duration_in_mins=2), now - 100).reason(1) is None
    assert (Stops(args(exit_duration_in_mins=2), now - 121).reason(1) or "").startswith(
        "exiting program after 2.0"
    )


def test_an_interval_stops_at_its_multiples() -> None:
    stops = Stops(args(exit_interval=3), time.monotonic())
    assert [bool(stops.reason(iteration)) for iteration in range(1, 7)] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_a_kill_switch_stops_as_soon_as_it_is_there(tmp_path: Path) -> None:
    switch = tmp_path / "kill switch"
    stops = Stops(args(kill_switch_path=str(switch)), time.monotonic())
    assert stops.reason(1) is None and stops.kill_switch() is None
    switch.touch()
    assert stops.reason(1) == stops.kill_switch() == f"Detected kill switch at {switch}. Exiting"


def test_sigterm_is_a_reason_while_listening_and_as_before_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stops(args(), time.monotonic()).listening() as stops:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stops.reason(1) == "received SIGTERM, exiting"
    assert signal.getsignal(signal.SIGTERM) == before
