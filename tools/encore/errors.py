"""User errors: what went wrong, where, and what to do next.

EncoreError            exit 1: the work could not be done
├── DataError          an input file or corpus is not what it should be
├── OutputError        an output could not be written (disk full, in use by another run)
├── CheckpointError    a checkpoint is torn, missing, or holds what may not be loaded
│   └── UnreadableError   it cannot be read now, or not by this kit; it may well be whole
├── RegistryError      a registry file breaks its schema
├── HubError           the Hub lacks what was requested, refuses it, or sent other bytes
│   └── HubUnreachableError   the Hub did not answer, or not completely: worth a retry
│       └── HubBusyError      it answered that it is overloaded or broken
└── UsageError         exit 2: the command line asks for something that cannot be
    └── UnknownNameError   a name that is not in a registry; has the nearest valid ones

What the operating system refuses, an OSError, becomes such a line in encore.cli. Anything else that
is raised is a bug and keeps its traceback.
"""

import difflib
from collections.abc import Iterable

# that many names fit into a line; of more, some are shown
_FEW_NAMES = 12
_SOME_NAMES = 5
# of a user's own value, a message repeats no more
_LONGEST_VALUE = 60


class EncoreError(Exception):
    """A failure that the user can act on; `hint` is the next step, a phrase or a command."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class DataError(EncoreError):
    """An input file or corpus is not what it should be."""


class OutputError(EncoreError):
    """An output could not be written."""


class CheckpointError(EncoreError):
    """A checkpoint is torn, missing, or holds what may not be loaded."""


class UnreadableError(CheckpointError):
    """A checkpoint cannot be read now (permissions, I/O) or by this kit; it may well be whole."""


class RegistryError(EncoreError):
    """A registry file breaks its schema."""


class HubError(EncoreError):
    """The Hub lacks what was requested, refuses it, or sent other bytes than it states."""


class HubUnreachableError(HubError):
    """The Hub did not answer, or not completely; the same request may succeed later."""


class HubBusyError(HubUnreachableError):
    """The Hub answered that it is overloaded or broken at the moment."""


class UsageError(EncoreError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not among the valid ones; the message has the nearest of these, or a few.

    listing: the command or file that shows all of them.
    """

    def __init__(self, kind: str, name: str, valid: Iterable[str], listing: str = "") -> None:
        names = sorted(valid)
        shown = nearest(name, names)
        if not shown:
            shown = names if len(names) <= _FEW_NAMES else names[:_SOME_NAMES]
        hint = f"valid: {', '.join(shown)}"
        if len(shown) < len(names):
            hint += f", … ({len(names)} in all)"
            if listing:
                hint += f"; see {listing}"
        super().__init__(f"unknown {kind} {shortened(name)!r}", hint)


def shortened(text: str) -> str:
    """A user's value as a message repeats it: as much of it as tells which one is meant."""
    if len(text) > _LONGEST_VALUE:
        return f"{text[:_LONGEST_VALUE]}…"
    return text


def nearest(name: str, valid: Iterable[str]) -> list[str]:
    """The valid names, five at most, that are likely meant by `name`; the likeliest is first."""
    by_lower_case: dict[str, list[str]] = {}
    for valid_name in valid:
        by_lower_case.setdefault(valid_name.lower(), []).append(valid_name)
    names = []
    for match in difflib.get_close_matches(name.lower(), by_lower_case, n=5, cutoff=0.5):
        names.extend(by_lower_case[match])
    return names[:5]
