"""Pull a run or data set: what is missing is downloaded, and .bin files in parts are joined.

A killed pull leaves partial downloads, complete parts or an unfinished join; the next one resumes
from each of them.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from encore.errors import EncoreError
from encore.hub import download, run_files
from encore.hub.download import DownloadItem, DownloadPlan, Progress, no_progress

# (total bytes, task) → the context in which the function that it yields counts bytes
ByteProgress = Callable[[int, str], AbstractContextManager[Progress]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PullResult:
    """What a pull did: the files that had to be downloaded, and the .bin files that were joined."""

    downloaded: tuple[DownloadItem, ...]
    joined: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """Size of the downloaded files."""
        return download.total_bytes(self.downloaded)


@contextlib.contextmanager
def no_byte_progress(_total: int, _task: str) -> Iterator[Progress]:
    """Show no progress."""
    yield no_progress


def pull(
    plan: DownloadPlan,
    threads: int = 4,
    remove_parts: bool = False,
    byte_progress: ByteProgress = no_byte_progress,
    replace: bool = False,
) -> PullResult:
    """Bring the plan's folder up to date.

    With `remove_parts` each part goes as soon as it is safe in the joined file. replace: also files
    that no earlier pull wrote. Raises HubError, OutputError for a full disk, a folder in use or one
    that holds such files, DataError for parts that do not fit together,
    EncoreError when there are parts but numpy, which joining needs, is not installed.
    """
    groups = _part_sizes(plan)
    if groups:
        _require_numpy(plan)
    for prefix in groups:
        if prefix.with_name(f".{prefix.name}.bin.joining.json").exists():
            # parts may be gone already, so the join has to end before anything is compared
            _join(prefix, remove_parts)
    missing = check(plan, threads, byte_progress, replace)
    if _drop_stale_joins(plan, missing):
        # parts that counted as present inside a dropped .bin are missing now
        missing = check(plan, threads, byte_progress, replace)
    download.check_disk(plan, missing, _join_bytes(groups, remove_parts))
    with byte_progress(download.total_bytes(missing), "downloading") as advance:
        download.download_files(plan, missing, threads, advance)
    for prefix in groups:
        size = _join(prefix, remove_parts)
        log.info("%s: joined, %s bytes", _joined_path(prefix), f"{size:,}")
    return PullResult(tuple(missing), tuple(map(_joined_path, groups)))


def check(
    plan: DownloadPlan,
    threads: int = 4,
    byte_progress: ByteProgress = no_byte_progress,
    replace: bool = False,
) -> list[DownloadItem]:
    """The plan's files that a pull would download; reads every file that is present.

    Raises OutputError where it would replace files of others, unless `replace`.
    """
    with byte_progress(plan.bytes, "checking") as advance:
        missing = download.missing_files(plan, threads, advance)
    if not replace:
        download.check_replaced(plan, missing)
    return missing


def _part_sizes(plan: DownloadPlan) -> dict[Path, list[int]]:
    """Each prefix that comes in parts, with its parts' bytes in order."""
    sizes = {item.local: item.file.size for item in plan.items}
    groups = {}
    for prefix, parts in run_files.part_groups(sizes).items():
        groups[plan.out / prefix] = [sizes[part] for part in parts]
    return groups


def _require_numpy(plan: DownloadPlan) -> None:
    # asked before hours of download rather than after them
    try:
        from encore.tokens import split_join  # noqa: F401
    except ModuleNotFoundError as error:
        raise EncoreError(
            f"{plan.repository.name} has .bin files in parts; joining them needs {error.name}",
            "in the kit's folder: pip install -e '.[data]'",
        ) from None


def _joined_path(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.bin")


def _join_bytes(groups: dict[Path, list[int]], remove_parts: bool) -> int:
    """Disk space that the joins need beside the parts."""
    required = 0
    for prefix, sizes in groups.items():
        if _joined_path(prefix).exists():
            continue
        # with remove_parts, two parts at a time are in both places
        required += 2 * max(sizes) if remove_parts else sum(sizes)
    return required


def _drop_stale_joins(plan: DownloadPlan, missing: Sequence[DownloadItem]) -> bool:
    """Remove every .bin that was joined from other parts than the Hub's; whether there was one."""
    missing_names = {item.local for item in missing}
    dropped = False
    for prefix, parts in run_files.part_groups(item.local for item in plan.items).items():
        whole = _joined_path(plan.out / prefix)
        if missing_names.intersection(parts) and whole.exists():
            whole.unlink()
            dropped = True
    return dropped


def _join(prefix: Path, remove_parts: bool) -> int:
    """Join PREFIX.bin from its parts, or finish a join; returns its bytes."""
    from encore.tokens import split_join  # imports numpy, which pulling a run does not need

    return split_join.join(prefix, remove_parts).bytes
