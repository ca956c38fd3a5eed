"""What a check found: the one record and the one table of doctor and bins verify."""

from collections.abc import Iterable
from dataclasses import dataclass

from encore import human

_MARKS = {True: "✓", False: "✗", None: "–"}


@dataclass(frozen=True)
class Finding:
    """One check. `right` is None where nothing could be checked; `seen` then says why.

    advice: what to do where it is wrong, as a command or a value.
    """

    what: str
    right: bool | None
    seen: str
    advice: str = ""


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that are wrong."""
    return [finding for finding in findings if finding.right is False]


def table(findings: Iterable[Finding]) -> str:
    """A line per finding; below a wrong one stands what to do about it."""
    rows = []
    for finding in findings:
        rows.append((_MARKS[finding.right], finding.what, finding.seen))
        if finding.right is False and finding.advice:
            rows.append(("", "", f"→ {finding.advice}"))
    return human.table(rows)
