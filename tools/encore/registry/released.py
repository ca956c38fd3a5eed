"""What was released on the Hub: the paper's repositories, and which run is in which.

registry/hub.yml names the organisation, repositories.csv its repositories, released_runs.csv the
repository of each run and how certain that is. Which files a repository holds only the Hub knows
(`encore.hub.run_files` reads their names).
"""

import datetime
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from encore.errors import RegistryError, UnknownNameError, UsageError
from encore.registry import strict_csv, strict_yaml
from encore.registry.folder import FOLDER

ATTRIBUTIONS = ("named", "seed", "inferred", "unknown")
KINDS = ("model", "dataset")


_LIST_RUNS = "tools/hub.py list --runs"
_LIST_REPOSITORIES = "tools/hub.py list"


@dataclass(frozen=True)
class Organisation:
    """The organisation on the Hub that holds the paper's repositories.

    run_prefix: what precedes the parts of a run's name in a repository's name.
    """

    organisation: str
    run_prefix: str
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class PaperRepository:
    """A repository of the paper.

    kind: one of KINDS. corpus: what its runs were trained on, "" for several or where not known.
    """

    name: str
    kind: str
    corpus: str
    note: str


@dataclass(frozen=True)
class Place:
    """A run's repository, None where no source states it.

    attribution: "named" where a source names both, "seed" for a seed of a named run, "inferred"
    from a rule about repositories, or "unknown".
    """

    run: str
    repository: str | None
    attribution: str
    source: str


@functools.cache
def _load_organisation(folder: Path) -> Organisation:
    return strict_yaml.load(folder / "hub.yml", Organisation)


def organisation(folder: Path = FOLDER) -> str:
    """The organisation's name on the Hub."""
    return _load_organisation(folder).organisation


def plain_name(text: str) -> str:
    """The name of a run or repository without the organisation's name before it, if that is there.

    Capitals become small letters, and the Hub's form of a run's name (`lm1-146m-14b-400m`) the
    kit's, unless a run or repository bears the name as it is.
    """
    # the lower case of some other script's letters is ASCII
    if not text.isascii():
        return text
    name = text.lower().removeprefix(f"{organisation()}/")
    prefix = _load_organisation(FOLDER).run_prefix
    first = name.partition("/")[0]
    if first in runs() or first in repositories() or not name.startswith(prefix):
        return name
    return name.removeprefix(prefix).replace("-", "")


@functools.cache
def _load_repositories(folder: Path) -> dict[str, PaperRepository]:
    path = folder / "repositories.csv"
    repositories = strict_csv.load(path, PaperRepository)
    for repository in repositories.values():
        if repository.kind not in KINDS:
            raise RegistryError(
                f"{path}: {repository.name} is a {repository.kind!r}",
                f"valid kinds: {', '.join(KINDS)}",
            )
    return repositories


def repositories(
    kind: str | None = None, corpus: str | None = None, folder: Path = FOLDER
) -> dict[str, PaperRepository]:
    """repositories.csv by name: all, or those of a kind and a corpus."""
    matches = {}
    for name, repository in _load_repositories(folder).items():
        if kind in (None, repository.kind) and corpus in (None, repository.corpus):
            matches[name] = repository
    return matches


def known_repository(name: str) -> PaperRepository:
    """One of the paper's repositories, with or without the organisation before its name.

    Raises UnknownNameError for a name that is none of theirs.
    """
    plain = plain_name(name)
    if plain not in repositories():
        raise UnknownNameError("repository", name, repositories(), _LIST_REPOSITORIES)
    return repositories()[plain]


def unknown_name(name: str, other_names: Iterable[str]) -> UnknownNameError:
    """The error for a name of no run and no data set, and none of the others that are valid."""
    names = [*runs(), *repositories("dataset"), *other_names]
    return UnknownNameError(
        "run, data set or tokenizer", name, names, f"{_LIST_RUNS}, or {_LIST_REPOSITORIES}"
    )


def corpora() -> list[str]:
    """The corpora that the repositories' runs were trained on."""
    names = {repository.corpus for repository in repositories().values()}
    return sorted(names - {""})


@functools.cache
def runs(folder: Path = FOLDER) -> dict[str, tuple[Place, ...]]:
    """released_runs.csv: every place of a run, by the run's name; raises RegistryError."""
    path = folder / "released_runs.csv"
    places_by_run: dict[str, tuple[Place, ...]] = {}
    for place in strict_csv.rows(path, Place):
        # a repository that nobody states has no other attribution, and the reverse
        if place.repository is None:
            is_valid = place.attribution == "unknown"
        else:
            is_valid = place.repository in _load_repositories(folder)
        if not is_valid or place.attribution not in ATTRIBUTIONS:
            raise RegistryError(
                f"{path}: {place.run}: {place.repository!r}, {place.attribution!r}",
                "write a name in repositories.csv and one of " + ", ".join(ATTRIBUTIONS),
            )
        places_by_run[place.run] = (*places_by_run.get(place.run, ()), place)
    return places_by_run


def matching_runs(
    match: str = "",
    kind: str | None = None,
    corpus: str | None = None,
    repository: str | None = None,
) -> list[Place]:
    """The places of runs whose name contains `match`, in the repositories that the filters leave.

    Runs of unknown repository are included without a filter. Raises UnknownNameError for a
    repository that is not the paper's.
    """
    if repository is not None:
        repository = known_repository(repository).name
    names: set[str | None] = {
        name for name in repositories(kind, corpus) if repository in (None, name)
    }
    if (kind, corpus, repository) == (None, None, None):
        # the repository of runs that no source attributes
        names.add(None)
    matches = []
    for places_of_run in runs().values():
        for place in places_of_run:
            if match in place.run and place.repository in names:
                matches.append(place)
    return matches


def places(run: str) -> tuple[Place, ...]:
    """Where a run is; raises UnknownNameError for one that was not released."""
    plain = plain_name(run)
    if plain not in runs():
        raise UnknownNameError("released run", run, runs(), _LIST_RUNS)
    return runs()[plain]


def place(run: str, repository: str | None = None) -> Place:
    """The one place of a run, in `repository` where it has several.

    Raises UsageError where it has several and no repository is named, or where no source states its
    repository.
    """
    candidates = places(run)
    matches = [place for place in candidates if repository in (None, place.repository)]
    if len(matches) > 1:
        names = ", ".join(str(place.repository) for place in matches)
        raise UsageError(f"{run} is in {len(matches)} repositories: {names}", "choose with --repo")
    if matches and matches[0].repository is not None:
        return matches[0]
    names = ", ".join(place.repository for place in candidates if place.repository)
    if names:
        hint = f"it is in {names}"
    else:
        hint = "name its repository with --repo; list them with tools/hub.py list"
    raise UsageError(f"no source states that {run} is in {repository or 'any repository'}", hint)


def is_whole_repository(run: str, repository: str) -> bool:
    """Whether the repository holds this run alone, so that the run's files may be at its root."""
    for places_of_run in runs().values():
        for place in places_of_run:
            if place.repository == repository and place.run != run:
                return False
    return True
