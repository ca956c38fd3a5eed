"""Which checkpoints of a run can be deleted: those that a rule does not keep, and torn ones.

Kept whatever the rule: the checkpoint that training would resume from, the newest whole one, the
one that `latest` names, everything that changed a short time ago, links, and whatever the kit does
not understand. Deleting is safe to kill: a folder first gets a name that no reader takes for a
checkpoint (see encore.files), and the next call removes what is left of it. No torch here: login
nodes have none.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG

from encore import files
from encore.checkpoints import file_names, model_states, step_folder, torch_zip
from encore.errors import CheckpointError, OutputError, UnreadableError, UsageError

WHOLE = "whole"
WEIGHTS = "weights only"
TORN = "torn"
ORPHANED = "orphaned"
LEFTOVER = "leftover"
UNKNOWN = "unknown"
_USABLE = (WHOLE, WEIGHTS)

_REMOVED = "removed"
_LEFT_BY = {
    "unfinished": "a write that was killed",
    "replaced": "an older version, of a write that was killed",
    _REMOVED: "a deletion that was killed",
}


@dataclass(frozen=True)
class RetentionRule:
    """Which usable checkpoints to keep: every `every`-th step and the `last` newest.

    All of them where neither is given. idle_s: what changed less than this many seconds ago may
    still be being written, and stays.
    """

    every: int | None = None
    last: int | None = None
    idle_s: float = 3600.0

    def __post_init__(self) -> None:
        for name, value in (("every", self.every), ("last", self.last)):
            if value is not None and value < 1:
                raise UsageError(f"--keep-{name} {value} would keep nothing", "give 1 or more")


@dataclass(frozen=True)
class PruneEntry:
    """A folder among the checkpoints: what it is and why, and whether it is to be deleted."""

    path: Path
    step: int
    state: str
    bytes: int
    reason: str
    delete: bool = False


def survey(folder: Path, rule: RetentionRule) -> list[PruneEntry]:
    """All checkpoints and leftovers of a run's folder, by step, and what the rule makes of each.

    Raises CheckpointError for a path that is no such folder.
    """
    if not folder.is_dir() or file_names.step_number(folder.resolve().name) is not None:
        raise CheckpointError(
            f"{folder} is not a folder of checkpoints",
            "give the folder that holds the global_step folders",
        )
    checkpoints = []
    leftovers = []
    for path in sorted(folder.iterdir()):
        # a link may lead anywhere, and what it leads to is not this run's
        if not path.is_dir() or path.is_symlink():
            continue
        leftover = files.leftover(path.name)
        if leftover is not None and file_names.step_number(leftover[0]) is not None:
            leftovers.append(_leftover_entry(path, *leftover, rule))
        step = file_names.step_number(path.name)
        if step is not None:
            checkpoints.append(_checkpoint_entry(path, step))
    if rule.every is not None or rule.last is not None:
        checkpoints = _with_newest_read(checkpoints)
    if not checkpoints and not leftovers:
        _check_level(folder)
    reasons = _kept_by_rule(checkpoints, rule) | _kept_always(folder, checkpoints)
    entries = [_judged(entry, reasons.get(entry.path), rule) for entry in checkpoints]
    entries += leftovers
    return sorted(entries, key=lambda entry: (entry.step, entry.path.name))


def _check_level(folder: Path) -> None:
    """Raise CheckpointError where a folder without checkpoints is not that of a new run."""
    visible = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    for path in visible:
        # links to checkpoints, or what was written beside some that are gone
        if path.name == file_names.LATEST or file_names.step_number(path.name) is not None:
            return
    for pattern in ("*/global_step*", "*/*/global_step*"):
        for path in sorted(folder.glob(pattern)):
            raise CheckpointError(
                f"{folder} holds no checkpoints itself, but {path.parent} does",
                f"give the folders of runs: {folder}/{pattern.removesuffix('/global_step*')}",
            )
    if visible:
        raise CheckpointError(
            f"{folder} holds {visible[0].name}, but no checkpoints",
            "give the folder that holds the global_step folders",
        )


def _checkpoint_entry(path: Path, step: int) -> PruneEntry:
    try:
        state, reason = _state(path)
        reason = _joined_reasons(reason, _newer_than_latest(path, step))
        return PruneEntry(path, step, state, _bytes_freed(path), reason)
    except OSError as error:
        return _unreadable_entry(path, step, error)


def _unreadable_entry(path: Path, step: int, error: OSError) -> PruneEntry:
    reason = f"{error.filename or path.name} may not be read: {error.strerror}"
    return PruneEntry(path, step, UNKNOWN, 0, reason)


def _newer_than_latest(path: Path, step: int) -> str:
    latest = file_names.latest(path.parent)
    if latest is None or step <= (file_names.step_number(latest) or 0):
        return ""
    return f"newer than {latest}, which `latest` names"


def _state(step: Path) -> tuple[str, str]:
    """What a checkpoint is, and why. Only what DeepSpeed alone wrote is called torn or orphaned.

    Whatever the kit cannot judge is UNKNOWN, and stays. Raises OSError.
    """
    names = [entry.name for entry in os.scandir(step)]
    others = sorted(name for name in names if not file_names.written_by_deepspeed(name))
    path = step / file_names.model_states_file()
    if not path.is_file():
        if others:
            return UNKNOWN, f"it holds {others[0]}, which DeepSpeed does not write"
        if any(map(file_names.is_stage_3_states, names)):
            return UNKNOWN, "ZeRO stage 3 wrote it"
        return ORPHANED, f"{len(names)} files, but not {path.name}"
    try:
        if torch_zip.is_torn(path):
            return TORN, f"{path.name} is torn"
        states = model_states.read(step)
        # which files there should be is not known then: such runs have no layer files
        if states.raw.get("module") is not None:
            return UNKNOWN, "its weights are not in layer files"
        problem = step_folder.missing_file(states, optimizer=False)
        optimizer_problem = step_folder.missing_file(states)
    except UnreadableError as error:
        return UNKNOWN, str(error)
    except CheckpointError as error:
        return UNKNOWN, f"its states cannot be read: {error}"
    if problem is not None and others:
        return UNKNOWN, f"{problem}, but it holds {others[0]}"
    if problem is not None:
        return TORN, problem
    if optimizer_problem is not None:
        return WEIGHTS, optimizer_problem
    return WHOLE, ""


def _with_newest_read(checkpoints: Sequence[PruneEntry]) -> list[PruneEntry]:
    """The checkpoints, of which those are UNKNOWN that have damaged bytes.

    The newest ones are read until one is sound: what is older may be deleted in its favour.
    """
    judged = {entry.path: entry for entry in checkpoints}
    for state in _USABLE:
        usable = [entry for entry in checkpoints if entry.state == state]
        for entry in sorted(usable, key=lambda entry: entry.step, reverse=True):
            try:
                states = model_states.read(entry.path)
                step_folder.check_bytes(states, optimizer=state == WHOLE)
                break
            except CheckpointError as error:
                judged[entry.path] = replace(entry, state=UNKNOWN, reason=str(error))
    return list(judged.values())


def _bytes_freed(path: Path) -> int:
    """What removing it would free: links lead nowhere here, a file with another name stays."""
    total = 0
    for stat in _stats(path):
        if stat.st_nlink == 1 and S_ISREG(stat.st_mode):
            total += stat.st_size
    return total


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Of a folder and all that is in it, but for what vanishes meanwhile: a run may be at work."""
    for folder, _, names in os.walk(path, onerror=_raise_unless_vanished):
        yield from _stat(Path(folder))
        for name in names:
            yield from _stat(Path(folder, name))


def _stat(path: Path) -> Iterator[os.stat_result]:
    with contextlib.suppress(FileNotFoundError):
        yield path.lstat()


def _raise_unless_vanished(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _kept_always(folder: Path, checkpoints: Sequence[PruneEntry]) -> dict[Path, str]:
    """What stays whatever the rule, and why."""
    reasons = {}
    for state in _USABLE:
        matches = [entry for entry in checkpoints if entry.state == state]
        if matches:
            reasons[_newest(matches).path] = f"the newest that is {state}"
    # torn ones alone: the newest may be what somebody wants to repair
    if checkpoints and not reasons:
        reasons[_newest(checkpoints).path] = "there is nothing better here"
    latest = file_names.latest(folder)
    if latest is not None:
        reasons[folder / latest] = "`latest` names it"
    return reasons


def _newest(entries: Sequence[PruneEntry]) -> PruneEntry:
    return max(entries, key=lambda entry: entry.step)


def _kept_by_rule(checkpoints: Iterable[PruneEntry], rule: RetentionRule) -> dict[Path, str]:
    """The usable checkpoints that the rule keeps, and why."""
    usable = [entry for entry in checkpoints if entry.state in _USABLE]
    usable.sort(key=lambda entry: entry.step)
    reasons = {}
    for age, entry in enumerate(reversed(usable)):
        if rule.last is not None and age < rule.last:
            reasons[entry.path] = f"among the last {rule.last}"
        elif rule.every is not None and entry.step % rule.every == 0:
            reasons[entry.path] = f"a multiple of {rule.every}"
        elif rule.last is None and rule.every is None:
            reasons[entry.path] = "no rule is given"
    return reasons


def _judged(entry: PruneEntry, kept_because: str | None, rule: RetentionRule) -> PruneEntry:
    """The entry with the decision about it."""
    if kept_because is None and entry.state != UNKNOWN:
        kept_because = _recent_change(entry.path, rule, time.time())
        if kept_because is None:
            return replace(entry, delete=True)
    return replace(entry, reason=_joined_reasons(entry.reason, kept_because))


def _joined_reasons(*reasons: str | None) -> str:
    return "; ".join(filter(None, reasons))


def _recent_change(path: Path, rule: RetentionRule, now_s: float) -> str | None:
    """When it was last changed, where that is so recent that it may still be being written."""
    changed = max((stat.st_mtime for stat in _stats(path)), default=0)
    age_s = now_s - changed
    if age_s >= rule.idle_s:
        return None
    if age_s < 0:
        return "changed later than this machine's clock says it is"
    return f"changed {age_s / 60:.0f} minutes ago"


def _time_of_folder(folder: Path) -> float:
    """Now, by this machine's clock or by the one that dates the folder's files, if that is behind.

    A clock that is an hour ahead of the file server's would make a checkpoint that is being written
    an hour old.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        return min(time.time(), os.fstat(file.fileno()).st_mtime)


def _leftover_entry(path: Path, target: str, kind: str, rule: RetentionRule) -> PruneEntry:
    """What a killed write or deletion left of the checkpoint `target`."""
    step = file_names.step_number(target) or 0
    try:
        entry = PruneEntry(path, step, LEFTOVER, _bytes_freed(path), _LEFT_BY[kind])
    except OSError as error:
        return _unreadable_entry(path, step, error)
    # its deletion was decided before; that it is recent does not matter
    if kind == _REMOVED:
        return replace(entry, delete=True)
    # a write was killed between its two renames, and the next write puts the older version back
    if not path.with_name(target).exists() and path.with_name(f".{target}.replaced").exists():
        reason = f"{target} itself does not exist, this may be what is left of it"
        return replace(entry, reason=_joined_reasons(entry.reason, reason))
    return _judged(entry, None, rule)


def delete(entries: Iterable[PruneEntry], rule: RetentionRule) -> Iterator[PruneEntry]:
    """Remove the entries to be deleted, and yield each that is gone.

    One that was written to, or named by `latest`, since the survey stays. Raises OutputError when
    something cannot be removed; the next call removes what is left of it.
    """
    # minutes may pass between the survey and this entry's turn, and a run may go on meanwhile
    for entry in entries:
        if entry.delete and entry.path.is_dir() and _still_deletable(entry, rule):
            _remove(entry)
            yield entry


def _still_deletable(entry: PruneEntry, rule: RetentionRule) -> bool:
    leftover = files.leftover(entry.path.name)
    if leftover is not None and leftover[1] == _REMOVED:
        return True
    if _recent_change(entry.path, rule, _time_of_folder(entry.path.parent)) is not None:
        return False
    return file_names.latest(entry.path.parent) != entry.path.name


def _remove(entry: PruneEntry) -> None:
    try:
        if entry.state == LEFTOVER:
            shutil.rmtree(entry.path)
        else:
            files.remove_folder(entry.path)
    except OSError as error:
        where = error.filename or entry.path
        raise OutputError(
            f"{entry.path} could not be removed: {error.strerror}: {where}",
            "see who owns it with ls -l, then run the same command again",
        ) from None
