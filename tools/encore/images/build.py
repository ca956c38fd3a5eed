"""Build a container image: under a temporary name, tested, recorded, then renamed into place.

A killed build leaves one folder beside the image, named as encore.files names what is unfinished;
the next build of that image removes it.
"""

import contextlib
import datetime
import logging
import os
import platform
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from encore import __version__, files, kit
from encore.errors import DataError, EncoreError, UnknownNameError, UsageError
from encore.images import base_digest, runtime, wheels
from encore.images.definition import Definition, load_definition
from encore.images.record import BuildRecord, write_record
from encore.registry.images import load_images
from encore.registry.trainers import load_trainers

# build arguments that the command sets itself
_RESERVED = {"version", "commit", "base_digest"}
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
# mksquashfs' default, gzip, takes several times as long for a larger file
_COMPRESSION = ("--mksquashfs-args", "-comp zstd -Xcompression-level 6")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildRequest:
    """What to build and how.

    image: a name in registry/images.yml. out: the image's folder. cache: for wheels. tag: a part of
    the file's name. arguments: the user's build arguments. program: apptainer, singularity or auto.
    """

    image: str
    out: Path
    cache: Path
    tag: str | None = None
    arguments: dict[str, str] = field(default_factory=dict)
    program: str = "auto"
    sandbox: bool = False
    accept_moved_base: bool = False

    @property
    def target(self) -> Path:
        """The image file, or the folder of a sandbox."""
        name = Path(load_images()[self.image].file).stem
        if self.tag:
            name += f"-{self.tag}"
        if not self.sandbox:
            name += ".sif"
        return self.out / name

    @property
    def is_default(self) -> bool:
        """Whether this builds the image that the registry describes."""
        return not (self.tag or self.arguments or self.sandbox)


@dataclass(frozen=True)
class ResolvedBase:
    """What the build starts from; registered: the registry's digest, None where it has none."""

    bootstrap: str
    name: str
    registered: str | None


def check(request: BuildRequest) -> ResolvedBase:
    """Refuse what cannot be built here, before anything is fetched, and choose the base.

    Raises UsageError, EncoreError.
    """
    definition = load_definition(request.image)
    valid = definition.arguments.keys() - _RESERVED
    for name in request.arguments:
        if name not in valid:
            raise UnknownNameError(f"build argument of {definition.path.name}", name, valid)
    if request.tag is not None and not _TAG.fullmatch(request.tag):
        raise UsageError(
            f"--tag {request.tag!r} cannot be part of a file's name",
            "use letters, digits, - and ., at most 64, a letter or digit first",
        )
    _check_trainers(request)
    if platform.machine() != "x86_64":
        raise EncoreError(
            f"this machine is {platform.machine()}, the images are for x86_64", "build on x86_64"
        )
    return _resolve_base(request, definition)


def _check_trainers(request: BuildRequest) -> None:
    """A trainer that the image cannot hold would fail an hour later, inside the build."""
    vendor = load_images()[request.image].vendor
    valid = []
    for name, trainer in load_trainers().items():
        # the built-in trainer is in every image and has no repository to clone
        is_cloned = any(pin.commit for pin in trainer.commits.values())
        if is_cloned and vendor in trainer.vendors:
            valid.append(name)
    for name in request.arguments.get("trainers", "").split():
        if name not in valid:
            raise UnknownNameError(f"trainer for image {request.image}", name, valid)


def _resolve_base(request: BuildRequest, definition: Definition) -> ResolvedBase:
    bases = load_images()[request.image].bases
    name = request.arguments.get("base")
    bootstrap = request.arguments.get("bootstrap")
    if name is None and bootstrap is None:
        # the first that this machine has, else the first that is pulled
        for base in bases:
            if base.bootstrap == "docker" or Path(base.name).is_file():
                return ResolvedBase(base.bootstrap, base.name, base.digest)
    if name is None:
        name = definition.arguments["base"]
    if bootstrap is None:
        is_file = name.startswith("/") or name.endswith(".sif")
        bootstrap = "localimage" if is_file else definition.arguments["bootstrap"]
    registered = None
    for base in bases:
        if base.name == name:
            registered = base.digest
    return ResolvedBase(bootstrap, name, registered)


def build_command(
    request: BuildRequest, base: ResolvedBase, digest: str, wheel_folder: str, image: Path
) -> list[str]:
    """The runtime's command line that builds `image` as an ordinary user, untested."""
    program = runtime.find_program(request.program)
    base_name = base.name
    if base.bootstrap == "docker":
        # by its digest: the tag may move between the look-up and the pull
        base_name = base_digest.pinned(base.name, digest)
    arguments = {
        "wheels": wheel_folder,
        **request.arguments,
        "bootstrap": base.bootstrap,
        "base": base_name,
        "base_digest": digest,
        "version": __version__,
        "commit": _kit_commit(),
    }
    # --notest: the image is tested by a command of its own, so that the two failures are told apart
    command = [program, "build", "--notest", "--force"]
    if request.sandbox:
        command.append("--sandbox")
    if program == "apptainer":
        # SingularityCE, as on LUMI, has neither option: it builds through PRoot
        if os.geteuid() != 0:
            command.append("--fakeroot")
        command += _COMPRESSION
    for name, value in sorted(arguments.items()):
        command += ["--build-arg", f"{name}={value}"]
    return [*command, str(image), str(load_definition(request.image).path)]


def _kit_commit() -> str:
    """The kit's commit, with `-dirty` where files differ from it; `unknown` outside a checkout."""
    # a checkout that belongs to another user is safe to read
    git = ["git", "-C", str(kit.ROOT), "-c", f"safe.directory={kit.ROOT}"]
    describe = ["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        process = subprocess.run([*git, *describe], capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    if process.returncode:
        return "unknown"
    return process.stdout.strip()


def build(request: BuildRequest) -> BuildRecord:
    """Build, test, record and put in place.

    Raises EncoreError; a build that fails or is interrupted leaves no file and no process.
    """
    base = check(request)
    program = runtime.find_program(request.program)
    with files.exclusive(request.target), _exit_on_sigterm(), _scratch_folder(request) as scratch:
        log.info("base %s", base.name)
        digest = base_digest.look_up(base.bootstrap, base.name)
        _check_base(request, base, digest)
        wheel_folder = request.arguments.get("wheels")
        if wheel_folder is None:
            facts = load_images()[request.image]
            fetched = wheels.fetch(str(facts.python), facts.requirements, request.cache)
            wheel_folder = str(fetched)
        image = scratch / request.target.name
        command = build_command(request, base, digest, wheel_folder, image)
        runtime.run(command, scratch, f"{request.image}.def does not build")
        log.info("testing")
        test = [program, "test", str(image)]
        runtime.run(test, scratch, "the image does not pass its test")
        image_digest = None
        if not request.sandbox:
            image_digest = f"sha256:{files.sha256(image)}"
        record = BuildRecord(
            image=request.image,
            kit_version=__version__,
            kit_commit=_kit_commit(),
            built=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            runtime=runtime.version(program),
            bootstrap=base.bootstrap,
            base=base.name,
            base_digest=digest,
            arguments=dict(request.arguments),
            digest=image_digest,
        )
        _put_in_place(request, image, record)
    return record


def _check_base(request: BuildRequest, base: ResolvedBase, digest: str) -> None:
    is_moved = base.registered not in (None, digest)
    if is_moved and not request.accept_moved_base:
        raise DataError(
            f"the base {base.name} has moved: registry/images.yml names {base.registered},"
            f" it is {digest} now",
            "see what changed in it, then add --accept-moved-base",
        )


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that what the build has begun is cleared away."""

    def exit_by_signal(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, exit_by_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _scratch_folder(request: BuildRequest) -> Iterator[Path]:
    """A folder beside the image for everything temporary, removed afterwards."""
    folder = files.begin_folder(request.target)
    try:
        yield folder
    finally:
        files.discard_folder(folder)


def _put_in_place(request: BuildRequest, image: Path, record: BuildRecord) -> None:
    # the record first: after a kill in between it describes another file, which `identify` reports
    write_record(request.target, record)
    if request.sandbox:
        if request.target.is_dir():
            # into the scratch folder, with which the old sandbox is removed
            request.target.rename(image.with_name("replaced"))
    else:
        files.fsync(image)
    os.replace(image, request.target)
    files.fsync(request.out)


def plan_rows(request: BuildRequest) -> list[tuple[str, str]]:
    """What `build` would do, as names and values; looks nothing up and writes nothing."""
    base = check(request)
    digest = base.registered or "sha256:" + "?" * 64
    wheel_folder = request.arguments.get("wheels") or f"{request.cache}/…"
    command = build_command(request, base, digest, wheel_folder, request.target)
    return [
        ("image", str(request.target)),
        ("definition", str(load_definition(request.image).path)),
        ("base", f"{base.bootstrap} {base.name}"),
        ("base digest", base.registered or "not registered: the build looks it up"),
        ("requirements", ", ".join(load_images()[request.image].requirements)),
        ("command", shlex.join(command)),
    ]
