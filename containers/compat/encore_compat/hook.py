"""The import hook: applies the entries when a fork's `megatron` is imported; idle otherwise.

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
    """Serves modules whose content a function returns, instead of a file."""

    def __init__(self, makers: dict[str, Callable[[], dict[str, object]]]) -> None:
        self.makers = makers

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.makers:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin="encore_compat", is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Use the default module."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self.makers[module.__name__]())


class _PatchingLoader(Loader):
    """A file's own loader, followed by a change to the loaded module."""

    def __init__(self, loader: Loader, patch: Callable[[ModuleType], None]) -> None:
        self.loader = loader
        self.patch = patch

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.patch(module)


class _Patcher(MetaPathFinder):
    """Changes modules of a fork once they are loaded."""

    def __init__(self, patches: dict[str, Callable[[ModuleType], None]]) -> None:
        self.patches = patches

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.patches:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _PatchingLoader(spec.loader, self.patches[name])
        return spec


class _Watch(MetaPathFinder):
    """Waits for the import of `megatron`, then removes itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "megatron":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.origin:
            checkout = fork_of(Path(spec.origin))
            if checkout is not None:
                activate(checkout)
        return spec


def install() -> None:
    """Wait for a fork; encore_compat.pth calls this."""
    if not any(isinstance(finder, _Watch) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def fork_of(origin: Path) -> Path | None:
    """The checkout that holds `megatron/__init__.py`, if the trainers.json beside it lists it."""
    checkout = origin.parent.parent
    listing = checkout.parent / "trainers.json"
    if not listing.is_file():
        return None
    if checkout.name not in json.loads(listing.read_text(encoding="utf-8")):
        return None
    return checkout


def activate(checkout: Path) -> None:
    """Apply the entries for the fork in `checkout`."""
    from encore_compat.entries import apply_entries

    changes = apply_entries(checkout)
    # what the image has comes before the stand-ins, unless an entry replaces it
    sys.meta_path.insert(0, _StandIns(changes.instead))
    sys.meta_path.append(_StandIns(changes.if_missing))
    sys.meta_path.insert(0, _Patcher(changes.patches))
