"""What a user asks for, found in the repositories: a run's folder and steps, or a data set's files, as an order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from encore.errors import HubError, HubUnreachableError, UnknownNameError, UsageError
from encore.hub import client, run_files
from encore.hub.download import DownloadItem, DownloadPlan
from encore.registry import released

_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")  # it becomes a folder here


@dataclass(frozen=True)
class RunLocation:
    """Where something stands: the repository, the commit that was looked at, and its folders there ("" is the root)."""

    repository: client.Repository
    commit: str
    folders: tuple[str, ...]


@dataclass(frozen=True)
class RunSelection:
    """Which files of a run: kinds of encore.hub.run_files, and the step of a checkpoint (a number, "latest", "all")."""

    whats: tuple[str, ...] = ("checkpoint",)
    step: str | None = None


def paper_repository(name: str) -> client.Repository:
    """One of the paper's repositories by its bare name; raises UnknownNameError for any other."""
    known = released.repositories()
    if name not in known:
        raise UnknownNameError("repository", name, known)
    return client.Repository(f"{released.organisation()}/{name}", known[name].kind)


def download_plan(
    name: str, given: str | None, revision: str, wanted: RunSelection, out: Path | None
) -> DownloadPlan:
    """What `pull` was asked for: RUN, REPOSITORY/RUN, DATASET or DATASET/PREFIX; `out` None: a folder of that name."""
    first, _, rest = name.partition("/")
    known = None if first in released.runs() else released.repositories().get(first)
    if known is not None and known.kind == "dataset":
        if given or wanted != RunSelection():
            raise UsageError(
                f"{first} is a data set; --repo, --what and --step are for runs", "leave them out"
            )
        return dataset_plan(first, rest.rstrip("/"), revision, out or Path(first))
    if known is not None and not rest:
        raise UsageError(
            f"{first} holds many runs",
            f"see tools/hub.py list --runs --repo {first}, then pull one",
        )
    if known is None and given is None and first not in released.runs():
        raise UnknownNameError(
            "run or data set", first, [*released.runs(), *released.repositories("dataset")]
        )
    run, holder = (rest, first) if known is not None else (name, None)
    if not _RUN_NAME.fullmatch(run):
        raise UsageError(f"{run!r} is not a run's name", "write letters, digits, - and . only")
    return run_plan(run, find_run(run, given or holder, revision), wanted, out or Path(run))


def place_report(place: released.Place, asked: bool) -> dict[str, Any]:
    """A run's place and what the Hub, if it is asked, says of it: folder, what is there, and the checkpoints' steps."""
    row: dict[str, Any] = {
        "run": place.run,
        "repository": place.repository,
        "folder": None,
        "url": None,
    }
    row |= {"attribution": place.attribution, "source": place.source, "checked": "not checked"}
    if place.repository is None:
        return row
    row |= {
        "folder": place.run,
        "url": client.page_url(paper_repository(place.repository), place.run),
    }
    if not asked:
        return row
    try:
        found = find_run(place.run, place.repository)
        paths = [
            file.path
            for folder in found.folders
            for file in client.repo_tree(found.repository, found.commit, folder)
        ]
    except HubUnreachableError:
        return row
    except HubError as error:
        return row | {"folder": None, "url": None, "checked": f"not there: {error}"}
    holds = sorted({run_files.kind(path) for path in paths}, key=run_files.KINDS.index)
    row |= {"folder": " ".join(folder or "(the root)" for folder in found.folders)}
    row |= {"url": client.page_url(found.repository, found.folders[0])}
    return row | {"checked": "on the Hub", "holds": holds, "steps": run_files.steps(paths)}


def find_run(run: str, given: str | None, revision: str = "main") -> RunLocation:
    """A run's folders on the Hub; raises HubError when the repository does not hold it."""
    if given and "/" in given:
        holder, alone = client.Repository(given), True
    else:
        name = given if given and _is_unstated(run) else released.place(run, given).repository
        holder, alone = paper_repository(str(name)), released.is_whole_repository(run, str(name))
    commit = client.resolve_commit(holder, revision)
    return RunLocation(
        holder, commit, folders_of(run, client.root_names(holder, commit), alone, holder.name)
    )


def _is_unstated(run: str) -> bool:
    return all(place.repository is None for place in released.places(run))


def folders_of(run: str, top: Sequence[str], alone: bool, where: str) -> tuple[str, ...]:
    """The run's own folder and those of its TensorBoard at the root; the root itself where the run is alone there."""
    events = tuple(
        name[:-1] for name in top if name in (f"tensorboard_{run}/", f"tensorboard_{run}_val/")
    )
    if f"{run}/" in top:
        return (run, *events)
    if alone and any(run_files.kind(name + "x") != "other" for name in top if name.endswith("/")):
        return ("",)
    near = get_close_matches(
        run, [name[:-1] for name in top if name.endswith("/")], n=5, cutoff=0.5
    )
    raise HubError(
        f"{where} has no folder {run}",
        f"the nearest there: {', '.join(near)}" if near else "look with `where`",
    )


def run_plan(run: str, found: RunLocation, wanted: RunSelection, out: Path) -> DownloadPlan:
    """The wanted files of a run, to lie below `out` as they do below its folder."""
    listed = [
        file
        for folder in found.folders
        for file in client.repo_tree(found.repository, found.commit, folder)
    ]
    # the run's own folder comes first, and last into the table: its files win over others of the same local name
    local = {
        run_files.check_inside(file.path).removeprefix(f"{run}/"): file for file in reversed(listed)
    }
    chosen = run_files.select(sorted(local), wanted.whats, wanted.step)
    if not chosen:
        there = sorted({run_files.kind(path) for path in local})
        raise HubError(
            f"{found.repository.name} has no {' or '.join(wanted.whats)} of {run}",
            f"there is: {', '.join(there)}",
        )
    return DownloadPlan(
        found.repository,
        found.commit,
        tuple(DownloadItem(local[path], path) for path in chosen),
        out,
    )


def dataset_plan(name: str, prefix: str, revision: str, out: Path) -> DownloadPlan:
    """The files of a data set of the paper's that belong to `prefix`, all of them where that is empty."""
    holder = paper_repository(name)
    commit = client.resolve_commit(holder, revision)
    listed = {run_files.check_inside(file.path): file for file in client.repo_tree(holder, commit)}
    chosen = run_files.dataset_files(listed, prefix) if prefix else list(listed)
    if not chosen:
        stems = sorted({path.partition(".")[0] for path in listed})
        near = get_close_matches(prefix, stems, n=5, cutoff=0.3) or stems[:5]
        raise HubError(
            f"{holder.name} has no files {prefix}", f"the nearest there: {', '.join(near)}"
        )
    return DownloadPlan(
        holder, commit, tuple(DownloadItem(listed[path], path) for path in chosen), out
    )
