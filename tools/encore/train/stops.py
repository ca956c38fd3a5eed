"""Reasons to save and end before the last step: a signal, a file, the clock, a step.

source: TurkuNLP 6732bc9 megatron/training.py (exits and their words); SIGTERM is Encore's own
"""

import argparse
import contextlib
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType


class Stops:
    """Tells, after every step, whether this process has a reason to end."""

    def __init__(self, args: argparse.Namespace, started: float) -> None:
        """started: time.monotonic() at the program's start, which --exit-duration-in-mins means."""
        self._args = args
        self._started = started
        self._terminated = False

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stops"]:
        """Catch SIGTERM while inside."""
        previous = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # only noted: a handler may run in the middle of an optimizer step
        self._terminated = True

    def kill_switch(self) -> str | None:
        """The log message where the kill switch exists."""
        path = self._args.kill_switch_path
        if path and Path(path).exists():
            return f"Detected kill switch at {path}. Exiting"
        return None

    def reason(self, iteration: int) -> str | None:
        """The log message of the first reason to end after this step, None to continue."""
        if self._terminated:
            return "received SIGTERM, exiting"
        minutes = (time.monotonic() - self._started) / 60
        if self._args.exit_duration_in_mins and minutes > self._args.exit_duration_in_mins:
            return f"exiting program after {minutes} minutes"
        if self._args.exit_interval and iteration % self._args.exit_interval == 0:
            return f"exiting program at iteration {iteration}"
        return self.kill_switch()


def dated(message: str) -> str:
    """A line as Megatron prints its turning points."""
    return f"[{message}] datetime: {datetime.now():%Y-%m-%d %H:%M:%S} "
