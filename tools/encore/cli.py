"""What all commands share: parser, talk and progress on stderr, errors as one line and an exit
code.

Exit codes: 0 done, 1 failed (or --check found drift), 2 usage, 130 interrupted. Data goes to
stdout, talk to stderr. The package itself never prints: its modules log, and `run` shows what they
log.
"""

import argparse
import contextlib
import errno
import io
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TextIO, cast

from encore import __version__, human, interrupts
from encore.errors import EncoreError

# without a terminal, long work shows that it is alive this often
_PROGRESS_EVERY_S = 30.0
_STDOUT = "standard output"
# torch's errors of the GPU's and the CPU's memory; the latter is a plain RuntimeError
_TORCH_MEMORY = re.compile(r"^OutOfMemoryError: |^RuntimeError: .*DefaultCPUAllocator")

log = logging.getLogger("encore")


class _Parser(argparse.ArgumentParser):
    """argparse's, which says where help cannot be written, prints what it refuses readably, and
    refuses empty arguments: as a path or a name they would mean the current folder or the default.
    """

    may_be_empty: Sequence[str] = ()

    def print_help(self, file: Any = None) -> None:
        (file or sys.stdout).write(self.format_help())

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = sys.argv[1:] if args is None else list(args)
        for previous, word in zip(["", *words], words, strict=False):
            option, has_value, value = word.partition("=")
            is_empty = not word or (has_value and not value and option.startswith("--"))
            if is_empty and (option or previous) not in self.may_be_empty:
                self.error(f"an empty argument after {previous or self.prog}: is a variable unset?")
        return super().parse_known_args(words, namespace)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, human.printable(message or ""))


def parser(docstring: str | None, may_be_empty: Sequence[str] = ()) -> argparse.ArgumentParser:
    """An ArgumentParser whose --help is the command's docstring: what it does, then examples.

    may_be_empty: the options whose value may be an empty text.
    """
    command = _Parser(
        description=docstring,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # an option of tomorrow must not change what a script of today means by half of its name
        allow_abbrev=False,
    )
    command.may_be_empty = may_be_empty
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
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    print(text)


class _Stdout:
    """Standard output that shows no control character of what is printed, and bears its own name
    in its errors.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """stream: sys.stdout, None where the process was started without one."""
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            # a character that the encoding lacks is shown by its number
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write text."""
        with self._named_errors():
            self._written_to().write(human.printable(text))
        return len(text)

    def flush(self) -> None:
        """Hand over what is buffered."""
        with self._named_errors():
            if self._stream is not None:
                self._stream.flush()

    def drop(self) -> None:
        """Lose what is buffered: Python would try again at its end, and fail."""
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._written_to().fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._written_to(), name)

    def _written_to(self) -> TextIO:
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), _STDOUT)
        return self._stream

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = _STDOUT
            raise


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
        text = human.printable(record.getMessage())
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

        title = human.printable(task) or None
        with tqdm(total=total, unit="B", unit_scale=True, desc=title) as bar:

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
    interrupts.raise_from_now_on()
    show_log()
    if sys.stderr is None:
        # started without one: what is said is lost, what is done is not
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 — open until the process ends
    sys.excepthook = _show_bug
    stdout = _Stdout(sys.stdout)
    with contextlib.redirect_stdout(cast(TextIO, stdout)):
        try:
            code = main()
        except BaseException as error:
            code = _exit_code(error, extra)
        try:
            stdout.flush()
        except OSError as error:
            # what a failed command lost on its way out does not matter any more
            code = code or _exit_code(error, extra)
            stdout.drop()
    _flush_stderr()
    sys.exit(code)


def _show_bug(kind: type[BaseException], error: BaseException, _: Any) -> None:
    print(human.printable("".join(traceback.format_exception(error))), file=sys.stderr, end="")


def _exit_code(error: BaseException, extra: str | None) -> int:
    """The exit code for what ended a command, after a line about it; raises what is a bug."""
    if isinstance(error, KeyboardInterrupt) or interrupts.came():
        say("interrupted")
        return interrupts.INTERRUPTED
    if isinstance(error, SystemExit) and isinstance(error.code, int):  # argparse's
        return error.code
    if isinstance(error, EncoreError):
        hint = f"; {error.hint}" if error.hint else ""
        _say_error(f"{error}{hint}")
        return error.exit_code
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if extra is not None and package not in ("", "encore"):
            _say_error(
                f"{package} is not installed; in the kit's folder: pip install -e '.[{extra}]'"
            )
            return 1
    if isinstance(error, MemoryError) or _TORCH_MEMORY.search(f"{type(error).__name__}: {error}"):
        _say_error(
            f"not enough memory: {str(error).splitlines()[0] if str(error) else 'none is left'};"
            " make the model or the batch smaller, or use a larger machine"
        )
        return 1
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        name = error.object[max(error.start - 40, 0) : error.end + 40]
        _say_error(f"{name!r} is no UTF-8; rename the file or folder that is named so")
        return 1
    if isinstance(error, BrokenPipeError) and error.filename in (None, _STDOUT):
        return 0  # the reader (head, less) went away
    if isinstance(error, OSError) and (error.filename or error.errno in _MACHINE_ERRORS):
        _say_error(_machine_error(error))
        return 1
    raise error


def _say_error(text: str) -> None:
    # one line, whatever the names in it hold
    say(f"error: {text}".replace("\n", "\\n"))


def _machine_error(error: OSError) -> str:
    """An error of the operating system, the path, and what to do."""
    paths = []
    for name in (error.filename, error.filename2):
        if name is not None:
            paths.append(os.fsdecode(name) if isinstance(name, bytes) else str(name))
    where = f": {' -> '.join(paths)}" if paths else ""
    hint = _MACHINE_ERRORS.get(error.errno or 0, "see what is there with: ls -ld PATH")
    return f"{error.strerror or error}{where}; {hint}"


def _flush_stderr() -> None:
    # a full disk under stderr changes nothing of the outcome, but Python's end would
    try:
        sys.stderr.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


_MACHINE_ERRORS = {
    errno.ENOSPC: "free disk space and run the same command again",
    errno.EDQUOT: "the quota is used up; free space or inodes and run the same command again",
    errno.EFBIG: "larger than the file system or `ulimit -f` allows; choose another folder",
    errno.EACCES: "see who may read and write it with: ls -ld PATH",
    errno.EPERM: "see who may change it with: ls -ld PATH; lsattr -d PATH",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOENT: "see what is there with: ls",
    errno.EISDIR: "a file is needed here, this is a folder",
    errno.ENOTDIR: "a folder is needed here, this is a file",
    errno.EEXIST: "it exists already; remove it or choose another name",
    errno.ENOTEMPTY: "it is not empty; remove it or choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "links lead in a circle; remove one of them",
    errno.EIO: "the disk or its server fails; try again, then ask who runs it",
    errno.ESTALE: "its server forgot the file; run the same command again",
    errno.EMFILE: "raise the limit on open files: ulimit -n 4096",
    errno.ENFILE: "this machine has too many files open; try again later",
    errno.ENOMEM: "free memory, or run it on a larger machine",
    errno.EXDEV: "both must be on one file system",
    errno.EBADF: "it was closed when the command started",
}
