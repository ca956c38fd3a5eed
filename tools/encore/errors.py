"""User errors: what went wrong, where, and what to do next.

EncoreError            exit 1: the work could not be done
├── DataError          an input file or corpus is not what it should be
├── OutputError        an output could not be written (disk full, in use by another run)
├── CheckpointError    a checkpoint is torn, missing, or holds what may not be loaded
│   └── UnreadableError   one of its files cannot be read now; it may well be whole
├── RegistryError      a registry file breaks its schema
├── HubError           the Hub lacks what was requested, refuses it, or sent other bytes
│   └── HubUnreachableError   the Hub did not answer, or not completely: worth a retry
│       └── HubBusyError      it answered that it is overloaded or broken
└── UsageError         exit 2: the command line asks for something that cannot be
    └── UnknownNameError   a name that is not in a registry; lists the nearest valid ones

Anything else that is raised is a bug and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


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
    """A file of a checkpoint cannot be read now (permissions, I/O); it may well be whole."""


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
    """A name that is not among the valid ones; the message lists the nearest, or all when few."""

    def __init__(self, kind: str, name: str, valid: Iterable[str]) -> None:
        names = sorted(valid)
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or names[:20]
        more = "" if len(near) == len(names) else f" (of {len(names)})"
        super().__init__(f"unknown {kind} {name!r}", f"valid: {', '.join(near)}{more}")
