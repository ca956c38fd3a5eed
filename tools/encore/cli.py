"""What all commands share: the parser made from a command's docstring, error → message + exit code, tables.

Exit codes: 0 done, 1 failed (or --check found drift), 2 usage. Data goes to stdout, talk to stderr.
"""

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from encore import __version__
from encore.errors import EncoreError


def parser(docstring: str | None) -> argparse.ArgumentParser:
    """An ArgumentParser whose --help is the command's own docstring: what it does, then runnable examples."""
    built = argparse.ArgumentParser(
        description=docstring,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    built.add_argument("--version", action="version", version=f"encore {__version__}")
    return built


def say(text: str) -> None:
    """Talk: a line on stderr."""
    print(text, file=sys.stderr)


def warn(text: str) -> None:
    """A line on stderr that the user should read."""
    say(f"warning: {text}")


def print_json(value: Any) -> None:
    """Data for a script: one JSON document on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def run(main: Callable[[], int]) -> None:
    """Run a command's main: a user error becomes one line and an exit code, anything else stays a traceback."""
    try:
        code = main()
        sys.stdout.flush()
    except EncoreError as error:
        say(f"error: {error}" + (f"; {error.hint}" if error.hint else ""))
        code = error.exit_code
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
    errno.EACCES: "check the permissions",
    errno.EROFS: "choose a writable folder",
    errno.ENOENT: "check the path",
    errno.EISDIR: "a file is needed, this is a folder",
    errno.ENOTDIR: "a folder is needed, this is a file",
}
