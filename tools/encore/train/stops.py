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
    """Asks, after every step, whether this process has a reason to end."""

    def __init__(self, args: argparse.Namespace, started: float) -> None:
        self._args, self._started = args, started
        self._terminated = False

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stops"]:
        """Catch SIGTERM while inside."""
        before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True

    def kill_switch(self) -> str | None:
        """The words for a kill switch that is there."""
        path = self._args.kill_switch_path
        return f"Detected kill switch at {path}. Exiting" if path and Path(path).exists() else None

    def reason(self, iteration: int) -> str | None:
        """The words for the first reason to end after this step, None to go on."""
        if self._terminated:
            return "received SIGTERM, exiting"
        minutes = (time.monotonic() - self._started) / 60
        if self._args.exit_duration_in_mins and minutes > self._args.exit_duration_in_mins:
            return f"exiting program after {minutes} minutes"
        if self._args.exit_interval and iteration % self._args.exit_interval == 0:
            return f"exiting program at iteration {iteration}"
        return self.kill_switch()


def dated(words: str) -> str:
    """A line as Megatron prints its turning points."""
    return f"[{words}] datetime: {datetime.now():%Y-%m-%d %H:%M:%S} "
