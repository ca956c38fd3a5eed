"""What was released on the Hub, and where: the paper's repositories, and each run's place in them.

registry/hub.yml names the organisation, repositories.csv its repositories, released_runs.csv which run is in which and
how sure that is. The files inside a repository are the Hub's own to tell (`encore.hub.run_files` reads their names).
"""

import datetime
import functools
from dataclasses import dataclass
from pathlib import Path

from encore.errors import RegistryError, UnknownNameError, UsageError
from encore.registry import strict_csv, strict_yaml
from encore.registry.folder import FOLDER

ATTRIBUTIONS = ("named", "seed", "inferred", "unknown")
KINDS = ("model", "dataset")


@dataclass(frozen=True)
class Organisation:
    """Who holds the paper's repositories on the Hub."""

    organisation: str
    source: str
    checked: datetime.date


@dataclass(frozen=True)
class PaperRepository:
    """A repository of the paper's; corpus: what its runs were trained on, "" where it is several or not known."""

    name: str
    kind: str
    group: str
    corpus: str
    note: str


@dataclass(frozen=True)
class Place:
    """A run's repository, None where no source states it.

    attribution: "named" where a source says so, "seed" for a seed of a named run, "inferred" from a rule about
    repositories, "unknown".
    """

    run: str
    repository: str | None
    attribution: str
    source: str


@functools.cache
def organisation(folder: Path = FOLDER) -> str:
    """The organisation's name on the Hub."""
    return strict_yaml.load(folder / "hub.yml", Organisation).organisation


@functools.cache
def _repositories(folder: Path) -> dict[str, PaperRepository]:
    found = strict_csv.load(folder / "repositories.csv", PaperRepository)
    for repository in found.values():
        if repository.kind not in KINDS:
            raise RegistryError(
                f"{folder / 'repositories.csv'}: {repository.name} is a {repository.kind!r}",
                f"write {' or '.join(KINDS)}",
            )
    return found


def repositories(
    kind: str | None = None, corpus: str | None = None, folder: Path = FOLDER
) -> dict[str, PaperRepository]:
    """repositories.csv by name, all or of a kind and corpus; raises RegistryError for a kind that the Hub has not."""
    return {
        name: entry
        for name, entry in _repositories(folder).items()
        if kind in (None, entry.kind) and corpus in (None, entry.corpus)
    }


def corpora() -> list[str]:
    """What the repositories' runs were trained on."""
    return sorted({entry.corpus for entry in repositories().values()} - {""})


@functools.cache
def runs(folder: Path = FOLDER) -> dict[str, tuple[Place, ...]]:
    """released_runs.csv: every place of a run, by the run's name; raises RegistryError for an unknown repository."""
    found: dict[str, tuple[Place, ...]] = {}
    for place in strict_csv.rows(folder / "released_runs.csv", Place):
        known = (
            place.repository in _repositories(folder)
            if place.repository
            else place.attribution == "unknown"
        )
        if not known or place.attribution not in ATTRIBUTIONS:
            raise RegistryError(
                f"{folder / 'released_runs.csv'}: {place.run}: {place.repository!r}, {place.attribution!r}",
                f"name one of repositories.csv, and one of {', '.join(ATTRIBUTIONS)}",
            )
        found[place.run] = (*found.get(place.run, ()), place)
    return found


def matching_runs(
    match: str = "",
    kind: str | None = None,
    corpus: str | None = None,
    repository: str | None = None,
) -> list[Place]:
    """The places of runs whose name holds `match`, in such repositories; those of no known repository unless filtered.

    Raises UnknownNameError for a repository that is not the paper's.
    """
    if repository is not None and repository not in repositories():
        raise UnknownNameError("repository", repository, repositories())
    kept = [name for name in repositories(kind, corpus) if repository in (None, name)]
    unstated = (kind, corpus, repository) == (None, None, None)
    found = [place for known in runs().values() for place in known if match in place.run]
    return [
        place for place in found if (place.repository in kept if place.repository else unstated)
    ]


def places(run: str) -> tuple[Place, ...]:
    """Where a run stands; raises UnknownNameError for one that was not released."""
    if run not in runs():
        raise UnknownNameError("released run", run, runs())
    return runs()[run]


def place(run: str, repository: str | None = None) -> Place:
    """The one place of a run, in `repository` where it has several.

    Raises UsageError where it has several and none is chosen, or where no source states its repository.
    """
    known = places(run)
    chosen = [place for place in known if repository in (None, place.repository)]
    if len(chosen) > 1:
        listed = ", ".join(str(place.repository) for place in chosen)
        raise UsageError(
            f"{run} stands in {len(chosen)} repositories: {listed}", "say which with --repo"
        )
    if not chosen or chosen[0].repository is None:
        told = ", ".join(str(place.repository) for place in known if place.repository)
        hint = (
            f"it stands in {told}" if told else "name one with --repo; tools/hub.py list shows them"
        )
        raise UsageError(
            f"no source states that {run} is in {repository or 'any repository'}", hint
        )
    return chosen[0]


def is_whole_repository(run: str, repository: str) -> bool:
    """Whether the repository holds this run alone, so that the run's files may lie at its root."""
    held = {
        place.run for known in runs().values() for place in known if place.repository == repository
    }
    return held in ({run}, set())
