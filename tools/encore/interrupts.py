"""An interrupt (SIGINT) ends a command in one line, from its first import on."""

import os
import signal
import threading
from types import FrameType

INTERRUPTED = 130


class _Interrupts:
    """Whether one came; libraries turn the KeyboardInterrupt of one into errors of their own."""

    came = False


def end_at_once() -> None:
    """While modules are loaded, nothing has begun that an interrupt would have to clear away.

    A SIGINT that is ignored, as under nohup, stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_from_now_on() -> None:
    """An interrupt is a KeyboardInterrupt again, for what has begun to clear away."""
    _Interrupts.came = False
    # Python handles signals in its main thread alone
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) in (_end, signal.default_int_handler):
        signal.signal(signal.SIGINT, _raise)


def came() -> bool:
    """Whether an interrupt came since `raise_from_now_on`."""
    return _Interrupts.came


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _raise(number: int, frame: FrameType | None) -> None:
    _Interrupts.came = True
    raise KeyboardInterrupt
