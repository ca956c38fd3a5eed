"""Which checkpoints of a run can go: what a rule does not keep, and what torn, orphaned or killed writes left behind.

Kept whatever the rule: the checkpoint that training would go on from, the newest whole one, the one that `latest`
names, everything that changed a short time ago, links, and whatever the kit does not understand. Deleting is safe to
kill: a folder first gets a name that no reader takes for a checkpoint, and what is left of it goes with the next call.
"""

import contextlib
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG

from encore import files
from encore.checkpoints import file_names, safe_load, step_folder
from encore.errors import CheckpointError, OutputError, UsageError

_LEFTOVER = re.compile(r"\.(global_step([0-9]+))\.(unfinished|replaced|pruned)")
_WRITTEN_BY_DEEPSPEED = re.compile(
    r"layer_\d+-model_\d+-model_states\.pt|(zero_pp_rank_\d+_)?mp_rank_\d+_model_states\.pt"
    r"|(bf16_|fp16_)?zero_pp_rank_\d+_mp_rank_\d+_optim_states\.pt"
)
_OLD_FORMAT = b"\x80\x02"  # torch before 1.6 wrote no zip files
_LEFT_BY = {
    "unfinished": "a write that was killed",
    "replaced": "an older version, of a write that was killed",
    "pruned": "a deletion that was killed",
}
WHOLE, WEIGHTS, TORN, ORPHANED, LEFTOVER, UNKNOWN = (
    "whole",
    "weights only",
    "torn",
    "orphaned",
    "leftover",
    "unknown",
)


@dataclass(frozen=True)
class RetentionRule:
    """Which whole checkpoints to keep: every `every`-th step, the `last` newest; all of them where neither is given.

    idle_s: what changed so few seconds ago may still be written, and is kept.
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
    """A folder among the checkpoints: what it is, what that is concluded from, and whether it is to go."""

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
    if not folder.is_dir() or file_names.STEP.fullmatch(folder.resolve().name):
        raise CheckpointError(
            f"{folder} is no folder of checkpoints",
            "give the one that holds the global_step folders",
        )
    entries = [_entry(path, int(match[1])) for path, match in _matching(folder, file_names.STEP)]
    kept = _by_rule(entries, rule) | _protected(folder, entries)
    judged = [_judge(entry, kept.get(entry.path), rule) for entry in entries]
    judged += [_leftover(path, match, rule) for path, match in _matching(folder, _LEFTOVER)]
    return sorted(judged, key=lambda entry: (entry.step, entry.path.name))


def _matching(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[Path, re.Match[str]]]:
    """Real folders, for a link may lead anywhere."""
    for path in sorted(folder.iterdir()):
        if (match := pattern.fullmatch(path.name)) and path.is_dir() and not path.is_symlink():
            yield path, match


def _entry(path: Path, step: int) -> PruneEntry:
    try:
        state, reason = _state(path)
        return PruneEntry(
            path, step, state, _bytes(path), _joined(reason, _beyond_latest(path, step))
        )
    except PermissionError as error:
        return _unreadable(path, step, error)


def _unreadable(path: Path, step: int, error: PermissionError) -> PruneEntry:
    return PruneEntry(path, step, UNKNOWN, 0, f"{error.filename} may not be read")


def _beyond_latest(path: Path, step: int) -> str:
    match = file_names.STEP.fullmatch(file_names.latest(path.parent) or "")
    return f"newer than {match[0]}, which `latest` names" if match and step > int(match[1]) else ""


def _state(step: Path) -> tuple[str, str]:
    """What a checkpoint is, and why. Only what DeepSpeed alone wrote is called torn or orphaned."""
    names = [entry.name for entry in os.scandir(step)]
    strange = sorted(name for name in names if not _WRITTEN_BY_DEEPSPEED.fullmatch(name))
    states = step / file_names.MODEL_STATES.format(0)
    if not states.is_file():
        if strange:
            return UNKNOWN, f"it holds {strange[0]}, which DeepSpeed does not write"
        return ORPHANED, f"{len(names)} files, but not {states.name}"
    if not zipfile.is_zipfile(states):
        with open(states, "rb") as handle:
            old = handle.read(len(_OLD_FORMAT)) == _OLD_FORMAT
        return (
            (UNKNOWN, f"{states.name} is in torch's old format")
            if old
            else (TORN, f"{states.name} is torn")
        )
    try:
        if safe_load.model_states(step).get("module") is not None:
            return UNKNOWN, "its weights are not in layer files"
        weights, all_of_it = (
            step_folder.incomplete(step, optimizer=optimizer) for optimizer in (False, True)
        )
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        return UNKNOWN, f"its states cannot be read: {error}"
    if weights is not None:
        return (UNKNOWN, f"{weights}, but it holds {strange[0]}") if strange else (TORN, weights)
    return (WHOLE, "") if all_of_it is None else (WEIGHTS, all_of_it)


def _bytes(path: Path) -> int:
    """What removing it would free: links lead to nothing here, and a file that has another name stays."""
    return sum(
        stat.st_size for stat in _stats(path) if stat.st_nlink == 1 and S_ISREG(stat.st_mode)
    )


def _stats(path: Path) -> Iterator[os.stat_result]:
    """Of a folder and all that is in it, but for what vanishes meanwhile, for a run may be at work here."""
    for folder, _, names in os.walk(path, onerror=_unless_gone):
        for each in (Path(folder), *(Path(folder, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):
                yield each.lstat()


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _protected(folder: Path, entries: Sequence[PruneEntry]) -> dict[Path, str]:
    """What stays whatever the rule, and why."""
    kept = {}
    for state in (WHOLE, WEIGHTS):
        if found := [entry for entry in entries if entry.state == state]:
            kept[max(found, key=lambda entry: entry.step).path] = f"the newest that is {state}"
    if entries and not kept:
        kept[max(entries, key=lambda entry: entry.step).path] = "nothing better is here"
    if named := file_names.latest(folder):
        kept[folder / named] = "`latest` names it"
    return kept


def _by_rule(entries: Iterable[PruneEntry], rule: RetentionRule) -> dict[Path, str]:
    """The usable checkpoints that the rule keeps."""
    usable = sorted(
        (entry for entry in entries if entry.state in (WHOLE, WEIGHTS)),
        key=lambda entry: entry.step,
    )
    if rule.every is None and rule.last is None:
        return {entry.path: "no rule is given" for entry in usable}
    kept = {
        entry.path: f"a multiple of {rule.every}"
        for entry in usable
        if rule.every and not entry.step % rule.every
    }
    return kept | {
        entry.path: f"among the last {rule.last}"
        for entry in usable[-(rule.last or 0) :]
        if rule.last
    }


def _judge(entry: PruneEntry, kept: str | None, rule: RetentionRule) -> PruneEntry:
    if kept is None and entry.state != UNKNOWN:
        kept = _active(entry.path, rule)
        if kept is None:
            return replace(entry, delete=True)
    return replace(entry, reason=_joined(entry.reason, kept))


def _joined(*reasons: str | None) -> str:
    return "; ".join(filter(None, reasons))


def _active(path: Path, rule: RetentionRule) -> str | None:
    """When it was last changed, where that is so short a time ago that it may still be written."""
    changed = max((stat.st_mtime for stat in _stats(path)), default=0)
    ago = time.time() - changed
    return f"changed {max(ago, 0) / 60:.0f} minutes ago" if ago < rule.idle_s else None


def _leftover(path: Path, match: re.Match[str], rule: RetentionRule) -> PruneEntry:
    """What a killed write or deletion left, under a name that no reader takes for a checkpoint."""
    whole, step, kind = path.with_name(match[1]), int(match[2]), match[3]
    try:
        found = PruneEntry(path, step, LEFTOVER, _bytes(path), _LEFT_BY[kind])
    except PermissionError as error:
        return _unreadable(path, step, error)
    if kind == "pruned":
        return replace(found, delete=True)
    if not whole.exists() and path.with_name(f".{whole.name}.replaced").exists():
        return replace(
            found,
            reason=f"{found.reason}; {whole.name} itself is not here, this may be what is left of it",
        )
    return _judge(found, None, rule)


def delete(entries: Iterable[PruneEntry], rule: RetentionRule) -> Iterator[PruneEntry]:
    """Remove what `survey` found to go, unless it was written to or named by `latest` since; yields each that is gone.

    Raises OutputError when something cannot be removed; the next call goes on with what is left of it.
    """
    for entry in entries:
        if entry.delete and entry.path.is_dir() and _still(entry, rule):
            _remove(entry)
            yield entry


def _still(entry: PruneEntry, rule: RetentionRule) -> bool:
    pruned = entry.path.name.endswith(".pruned")
    return pruned or (
        not _active(entry.path, rule) and file_names.latest(entry.path.parent) != entry.path.name
    )


def _remove(entry: PruneEntry) -> None:
    doomed = entry.path
    try:
        if entry.state != LEFTOVER:
            doomed = entry.path.with_name(f".{entry.path.name}.pruned")
            if doomed.exists():
                shutil.rmtree(doomed)
            entry.path.rename(doomed)
            files.fsync(doomed.parent)
        shutil.rmtree(doomed)
    except OSError as error:
        where = error.filename or doomed
        raise OutputError(
            f"{entry.path} could not be removed: {error.strerror}: {where}",
            "mend that and run the same command again",
        ) from None
