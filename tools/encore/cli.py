"""What all commands share: parser, talk and progress on stderr, errors as one line and an exit
code.

Exit codes: 0 done, 1 failed (or --check found drift), 2 usage, 130 interrupted. Data goes to
stdout, talk to stderr. The package itself never prints: its modules log, and `run` shows what they
log.
"""

import argparse
import contextlib
import errno
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from encore import __version__, human
from encore.errors import EncoreError

# without a terminal, long work shows that it is alive this often
_PROGRESS_EVERY_S = 30.0

log = logging.getLogger("encore")


def parser(docstring: str | None) -> argparse.ArgumentParser:
    """An ArgumentParser whose --help is the command's docstring: what it does, then examples."""
    command = argparse.ArgumentParser(
        description=docstring,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # an option of tomorrow must not change what a script of today means by half of its name
        allow_abbrev=False,
    )
    command.add_argument("--version", action="version", version=f"encore {__version__}")
    return command


def say(text: str) -> None:
    """Talk: a line on stderr."""
    log.info("%s", text)


def warn(text: str) -> None:
    """A line on stderr that the user should read."""
    log.warning("%s", text)


def print_json(value: Any) -> None:
    """Data for a script: one JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever sys.stderr is when a line is logged."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        pass

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            return f"{record.levelname.lower()}: {text}"
        return text


def show_log() -> None:
    """Show on stderr what the package logs, warnings marked; a second call changes nothing."""
    if not any(isinstance(handler, _StderrHandler) for handler in log.handlers):
        log.addHandler(_StderrHandler())
    log.setLevel(logging.INFO)
    # libraries configure the root logger as they please; a line must not appear twice
    log.propagate = False


@contextlib.contextmanager
def byte_progress(total: int | None = None, task: str = "") -> Iterator[Callable[[int], None]]:
    """Progress of work that counts bytes: a bar on a terminal, elsewhere a line every 30 seconds.

    Yields the function that is told of each number of bytes done; any thread may call it.
    """
    lock = threading.Lock()
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, unit="B", unit_scale=True, desc=task or None) as bar:

            def advance(count: int) -> None:
                with lock:
                    bar.update(count)

            yield advance
        return

    total_done = 0
    next_line_s = time.monotonic() + _PROGRESS_EVERY_S
    of_total = f" of {human.byte_size(total)}" if total is not None else ""

    def count_up(count: int) -> None:
        nonlocal total_done, next_line_s
        with lock:
            total_done += count
            if time.monotonic() >= next_line_s:
                next_line_s += _PROGRESS_EVERY_S
                say(f"{task or 'progress'}: {human.byte_size(total_done)}{of_total}")

    yield count_up


def run(main: Callable[[], int], extra: str | None = None) -> None:
    """Run a command's main: a user error becomes one line and an exit code; a bug keeps its
    traceback.

    extra: the optional dependencies of pyproject.toml that the command needs, named where one is
    missing.
    """
    show_log()
    try:
        code = main()
        sys.stdout.flush()
    except EncoreError as error:
        hint = f"; {error.hint}" if error.hint else ""
        say(f"error: {error}{hint}")
        code = error.exit_code
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if extra is None or package in ("", "encore"):
            raise
        say(f"error: {package} is not installed; in the kit's folder: pip install -e '.[{extra}]'")
        code = 1
    except BrokenPipeError:  # the reader (head, less) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if error.errno not in _MACHINE_ERRORS:
            raise
        where = f": {error.filename}" if error.filename else ""
        say(f"error: {error.strerror}{where}; {_MACHINE_ERRORS[error.errno]}")
        code = 1
    except KeyboardInterrupt:
        say("interrupted")
        code = 130
    sys.exit(code)


_MACHINE_ERRORS = {
    errno.ENOSPC: "free disk space and run the same command again",
    errno.EDQUOT: "the quota is used up; free space or inodes and run the same command again",
    errno.EACCES: "see who may read and write it with: ls -ld PATH",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOENT: "see what is there with: ls",
    errno.EISDIR: "a file is needed here, this is a folder",
    errno.ENOTDIR: "a folder is needed here, this is a file",
}
