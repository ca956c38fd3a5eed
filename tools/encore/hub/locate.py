"""Where runs and data sets are in the Hub's repositories, and which of their files to download."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encore.errors import HubError, HubUnreachableError, UsageError, nearest
from encore.hub import client, run_files
from encore.hub.download import DownloadItem, DownloadPlan
from encore.registry import released
from encore.registry.tokenizers import TokenizerFacts, load_tokenizers

NOT_CHECKED = "not checked"
NOT_ON_HUB = "not on the Hub"
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")  # it becomes a local folder


@dataclass(frozen=True)
class RunLocation:
    """A run's repository, the commit that was read, and its folders there ("" is the root)."""

    repository: client.Repository
    commit: str
    folders: tuple[str, ...]


@dataclass(frozen=True)
class RunSelection:
    """Which files of a run: kinds (run_files.KINDS), and a checkpoint's step, "latest" or "all"."""

    kinds: tuple[str, ...] = ("checkpoint",)
    step: str | None = None


def paper_repository(name: str) -> client.Repository:
    """One of the paper's repositories, by its name. Raises UnknownNameError."""
    known = released.known_repository(name)
    return client.Repository(f"{released.organisation()}/{known.name}", known.kind)


def download_plan(
    name: str, repo: str | None, revision: str, selection: RunSelection, out: Path | None
) -> DownloadPlan:
    """The download for RUN, REPOSITORY/RUN, DATASET, DATASET/PREFIX or a tokenizer's name.

    repo: which repository, where a run is in several, or any other as OWNER/NAME. out: None for a
    folder by the run's or data set's name. Raises UsageError, UnknownNameError or HubError.
    """
    tokenizer = load_tokenizers().get(name)
    if tokenizer is not None and repo is None:
        _check_no_run_options(f"{name} is a tokenizer", repo, selection)
        return tokenizer_plan(tokenizer, revision, out or Path(name))
    plain = released.plain_name(name)
    first, _, rest = plain.partition("/")
    is_run = first in released.runs()
    paper_entry = None if is_run else released.repositories().get(first)
    if paper_entry is not None and paper_entry.kind == "dataset":
        _check_no_run_options(f"{first} is a data set", repo, selection)
        # below the data set, the files have names of their own
        prefix = name[len(name) - len(rest) :].rstrip("/")
        return dataset_plan(first, prefix, revision, out or Path(first))
    if paper_entry is not None and not rest:
        raise UsageError(
            f"{first} holds many runs",
            f"list them with tools/hub.py list --runs --repo {first}, then pull one",
        )
    if paper_entry is None and not is_run and repo is None:
        raise released.unknown_name(first, load_tokenizers())
    run = plain if is_run else name
    if paper_entry is not None:
        run = released.plain_name(rest)
        repo = repo or first
    if not _RUN_NAME.fullmatch(run):
        raise UsageError(f"{run!r} is not a run's name", "write letters, digits, - and . only")
    return run_plan(run, find_run(run, repo, revision), selection, out or Path(run))


def _check_no_run_options(what: str, repo: str | None, selection: RunSelection) -> None:
    if repo or selection != RunSelection():
        raise UsageError(f"{what}; --repo, --what and --step are for runs", "leave them out")


def find_run(run: str, repo: str | None, revision: str = "main") -> RunLocation:
    """A run's folders on the Hub.

    repo: one of the paper's repositories, or any as OWNER/NAME; None for the registry's. Raises
    HubError when the repository does not hold the run.
    """
    if repo and "/" in repo and released.plain_name(repo) not in released.repositories():
        repository = client.Repository(repo)
        holds_run_alone = True
    else:
        name = released.known_repository(repo).name if repo else None
        if name is None or not _is_unplaced(run):
            name = str(released.place(run, name).repository)
        repository = paper_repository(name)
        holds_run_alone = released.is_whole_repository(run, name)
    commit = client.resolve_commit(repository, revision)
    names = client.root_names(repository, commit)
    folders = run_folders(run, names, holds_run_alone, repository.name)
    return RunLocation(repository, commit, folders)


def _is_unplaced(run: str) -> bool:
    """Whether no source states the run's repository, so that the user may name any."""
    return all(place.repository is None for place in released.places(run))


def run_folders(
    run: str, root_names: Sequence[str], holds_run_alone: bool, repository: str
) -> tuple[str, ...]:
    """The run's own folder, then those of its TensorBoard events at the root.

    It is the root ("") where the repository holds this run alone and has no folder of its name.
    Raises HubError where there is neither.
    """
    folders = [name[:-1] for name in root_names if name.endswith("/")]
    if run in folders:
        run_and_events = [run]
        for event_folder in (f"tensorboard_{run}", f"tensorboard_{run}_val"):
            if event_folder in folders:
                run_and_events.append(event_folder)
        return tuple(run_and_events)
    # a folder's kind shows in the path of any file in it
    if holds_run_alone and any(run_files.kind(f"{name}/x") != "other" for name in folders):
        return ("",)
    hint = f"see where it may be with tools/hub.py where {run}"
    near_names = nearest(run, folders)
    if near_names:
        hint = f"nearest: {', '.join(near_names)}"
    raise HubError(f"{repository} has no folder {run}", hint)


def run_plan(run: str, location: RunLocation, selection: RunSelection, out: Path) -> DownloadPlan:
    """The selected files of a run, with the same paths below `out` as below the run's folder."""
    files_by_path = {}
    # the run's own folder is last, so that its files win over others of the same local path
    for folder in reversed(location.folders):
        for file in client.repo_tree(location.repository, location.commit, folder):
            local = run_files.check_inside(file.path).removeprefix(f"{run}/")
            files_by_path[local] = file
    selected = run_files.select(sorted(files_by_path), selection.kinds, selection.step)
    if not selected:
        available = sorted(set(map(run_files.kind, files_by_path)))
        raise HubError(
            f"{location.repository.name} has no {' or '.join(selection.kinds)} of {run}",
            f"valid for --what: {', '.join(available)}",
        )
    items = []
    for path in selected:
        items.append(DownloadItem(files_by_path[path], path))
    return DownloadPlan(location.repository, location.commit, tuple(items), out)


def dataset_plan(name: str, prefix: str, revision: str, out: Path) -> DownloadPlan:
    """The files of one of the paper's data sets that belong to `prefix`; all, if that is empty."""
    repository = paper_repository(name)
    commit = client.resolve_commit(repository, revision)
    files_by_path = {}
    for file in client.repo_tree(repository, commit):
        files_by_path[run_files.check_inside(file.path)] = file
    selected = list(files_by_path)
    if prefix:
        selected = run_files.dataset_files(files_by_path, prefix)
    if not selected:
        stems = sorted({path.partition(".")[0] for path in files_by_path})
        near_stems = nearest(prefix, stems) or stems[:5]
        raise HubError(
            f"{repository.name} has no files {prefix}", f"nearest: {', '.join(near_stems)}"
        )
    items = []
    for path in selected:
        items.append(DownloadItem(files_by_path[path], path))
    return DownloadPlan(repository, commit, tuple(items), out)


def tokenizer_plan(tokenizer: TokenizerFacts, revision: str, out: Path) -> DownloadPlan:
    """The files of a tokenizer of registry/tokenizers.yml, with the hashes that stand there."""
    if tokenizer.repository is None:
        raise UsageError(f"tokenizer {tokenizer.name} is in no repository", tokenizer.source)
    repository = client.Repository(tokenizer.repository)
    commit = client.resolve_commit(repository, revision)
    sizes = {file.path: file.size for file in client.repo_tree(repository, commit)}
    items = []
    for name, digest in tokenizer.files.items():
        if name not in sizes:
            raise HubError(f"{repository.name} has no {name}", "name a commit with --revision")
        # by the registry's SHA-256, whatever the Hub states
        file = client.RemoteFile(name, sizes[name], digest, large=True)
        items.append(DownloadItem(file, name))
    return DownloadPlan(repository, commit, tuple(items), out)


def place_report(place: released.Place, ask_hub: bool) -> dict[str, Any]:
    """A run's place and, if the Hub is asked, its folder there, its kinds of files and its steps.

    "checked" is NOT_CHECKED, "on the Hub", or begins with NOT_ON_HUB.
    """
    report: dict[str, Any] = {
        "run": place.run,
        "repository": place.repository,
        "folder": None,
        "url": None,
        "attribution": place.attribution,
        "source": place.source,
        "checked": NOT_CHECKED,
    }
    if place.repository is None:
        return report
    if not ask_hub:
        url = client.page_url(paper_repository(place.repository), place.run)
        return report | {"folder": place.run, "url": url}
    try:
        location = find_run(place.run, place.repository)
        paths = []
        for folder in location.folders:
            for file in client.repo_tree(location.repository, location.commit, folder):
                paths.append(file.path)
    except HubUnreachableError:
        return place_report(place, ask_hub=False)
    except HubError as error:
        return report | {"checked": f"{NOT_ON_HUB}: {error}"}
    return report | {
        "folder": " ".join(location.folders) or "(the root)",
        "url": client.page_url(location.repository, location.folders[0]),
        "checked": "on the Hub",
        "holds": sorted(set(map(run_files.kind, paths)), key=run_files.KINDS.index),
        "steps": run_files.steps(paths),
    }
