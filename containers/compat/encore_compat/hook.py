"""The import hook: notices that a fork's `megatron` is being imported and applies the entries; idle otherwise.

Standard library only, and little of it: this runs at each start of Python in the image.
"""

import importlib.machinery
import json
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from types import ModuleType


class _StandIns(MetaPathFinder, Loader):
    """Serves modules that are made here instead of read from a file."""

    def __init__(self, makers: dict[str, Callable[[], dict[str, object]]]) -> None:
        self.makers = makers

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.makers:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin="encore_compat", is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Take the default module."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self.makers[module.__name__]())


class _Mended(Loader):
    """A file's own loader, with a change to the module once it has run."""

    def __init__(self, loader: Loader, mend: Callable[[ModuleType], None]) -> None:
        self.loader, self.mend = loader, mend

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.mend(module)


class _Mender(MetaPathFinder):
    """Changes modules of a fork after they have run."""

    def __init__(self, mends: dict[str, Callable[[ModuleType], None]]) -> None:
        self.mends = mends

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.mends:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Mended(spec.loader, self.mends[name])
        return spec


class _Watch(MetaPathFinder):
    """Waits for `megatron`; steps aside for good when it has come."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "megatron":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin and (checkout := fork_of(Path(spec.origin))):
            activate(checkout)
        return spec


def install() -> None:
    """Watch for a fork; called by encore_compat.pth."""
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def fork_of(origin: Path) -> Path | None:
    """The checkout that holds `megatron/__init__.py`, if the trainers.json above it names it."""
    checkout = origin.parent.parent
    record = checkout.parent / "trainers.json"
    if not record.is_file():
        return None
    return checkout if checkout.name in json.loads(record.read_text(encoding="utf-8")) else None


def activate(checkout: Path) -> None:
    """Apply the entries for the fork in `checkout`."""
    from encore_compat.entries import changes

    found = changes(checkout)
    # complete packages of the image come first unless an entry says otherwise
    sys.meta_path.insert(0, _StandIns(found.instead))
    sys.meta_path.append(_StandIns(found.if_missing))
    sys.meta_path.insert(0, _Mender(found.mends))
