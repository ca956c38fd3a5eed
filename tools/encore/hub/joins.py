"""Split .bin files that were brought in parts, joined: resumed where a kill came, and anew when the parts changed."""

from collections.abc import Callable, Sequence
from pathlib import Path

from encore.hub import run_files
from encore.hub.download import DownloadItem, DownloadPlan


def groups(plan: DownloadPlan) -> dict[Path, list[int]]:
    """Each prefix that comes in parts, with its parts' bytes in order."""
    sizes = {item.local: item.file.size for item in plan.items}
    return {
        plan.out / prefix: [sizes[part] for part in group]
        for prefix, group in run_files.part_groups(sizes).items()
    }


def _whole(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.bin")


def bytes_needed(plan: DownloadPlan, remove_parts: bool) -> int:
    """Disk for the .bin files that are to be put together: the whole, or two parts' worth of it."""
    waiting = [sizes for prefix, sizes in groups(plan).items() if not _whole(prefix).exists()]
    return sum(2 * max(sizes) if remove_parts else sum(sizes) for sizes in waiting)


def drop_stale(plan: DownloadPlan, needed: Sequence[DownloadItem]) -> bool:
    """Remove every .bin of whose parts one has to come again: it was joined from others. Whether there was any."""
    names = {item.local for item in needed}
    found = run_files.part_groups(item.local for item in plan.items)
    stale = [_whole(plan.out / prefix) for prefix, group in found.items() if names & set(group)]
    there = [path for path in stale if path.exists()]
    for path in there:
        path.unlink()
    return bool(there)


def resume(plan: DownloadPlan, remove_parts: bool) -> None:
    """End the joins that a kill interrupted, whose parts may be gone already."""
    for prefix in groups(plan):
        if prefix.with_name(f".{prefix.name}.bin.joining.json").exists():
            _join(prefix, remove_parts)


def join(plan: DownloadPlan, remove_parts: bool, say: Callable[[str], None]) -> None:
    """Put each .bin together from its parts."""
    for prefix in groups(plan):
        say(f"{_whole(prefix)}: joined, {_join(prefix, remove_parts):,} bytes")


def _join(prefix: Path, remove_parts: bool) -> int:
    from encore.tokens import split_join  # with numpy, which runs do not need

    return split_join.join(prefix, remove_parts).bytes
