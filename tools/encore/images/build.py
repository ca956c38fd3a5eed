"""Build a container image: to a temporary name, tested there, recorded, then put in place.

What may be left by a killed build is one folder `.FILE.*.building` beside the image; the next build removes it.
"""

import contextlib
import dataclasses
import datetime
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from encore import __version__, files, kit
from encore.errors import DataError, EncoreError, UnknownNameError, UsageError
from encore.images import base_digest, wheels
from encore.images import definition as definitions
from encore.images import record as images
from encore.registry.images import load_images

RUNTIMES = ("apptainer", "singularity")
# set by the command itself, not by the user
_OURS = {"version", "commit", "base_digest"}
# gzip, the default, takes several times as long for a larger file
_COMPRESSION = ("--mksquashfs-args", "-comp zstd -Xcompression-level 6")
_STOP_S = 20

Say = Callable[[str], None]


@dataclass(frozen=True)
class BuildRequest:
    """What to build and how: the image's name, a tag for its file, the user's build arguments, …"""

    image: str
    out: Path
    cache: Path
    tag: str | None = None
    arguments: dict[str, str] = field(default_factory=dict)
    runtime: str = "auto"
    sandbox: bool = False
    accept_moved_base: bool = False

    @property
    def target(self) -> Path:
        """The file, or the folder of a sandbox, that comes to be."""
        stem = Path(load_images()[self.image].file).stem + (f"-{self.tag}" if self.tag else "")
        return self.out / (stem if self.sandbox else f"{stem}.sif")

    @property
    def is_default(self) -> bool:
        """Whether this is the image that the registry is about: no tag, no argument, no sandbox."""
        return not (self.tag or self.arguments or self.sandbox)


@dataclass(frozen=True)
class ResolvedBase:
    """What the build starts from; `known` is the registry's digest for it, None where it has none."""

    bootstrap: str
    name: str
    known: str | None


def check(request: BuildRequest) -> ResolvedBase:
    """Refuse what cannot be built here and choose the base; raises EncoreError's kinds, each with what to do."""
    definition = definitions.of(request.image)
    valid = definition.arguments.keys() - _OURS
    for name in request.arguments:
        if name not in valid:
            raise UnknownNameError(f"build argument of {definition.path.name}", name, valid)
    if request.tag is not None and not request.tag.replace("-", "").replace(".", "").isalnum():
        raise UsageError(
            f"{request.tag!r} cannot be part of a file's name", "use letters, digits, - and ."
        )
    if platform.machine() != "x86_64":
        raise EncoreError(
            f"this machine is {platform.machine()}, the images are for x86_64", "build on x86_64"
        )
    return _base(request, definition)


def _base(request: BuildRequest, definition: definitions.Definition) -> ResolvedBase:
    known = load_images()[request.image].bases
    given = request.arguments.get("base")
    if given is None and "bootstrap" not in request.arguments:
        there = (b for b in known if b.bootstrap == "docker" or Path(b.name).is_file())
        base = next(there)
        return ResolvedBase(base.bootstrap, base.name, base.digest)
    name = given or definition.arguments["base"]
    is_file = name.startswith("/") or name.endswith(".sif")
    bootstrap = request.arguments.get("bootstrap") or (
        "localimage" if is_file else definition.arguments["bootstrap"]
    )
    return ResolvedBase(bootstrap, name, next((b.digest for b in known if b.name == name), None))


def runtime(wanted: str) -> str:
    """The program that builds: the one that is asked for, or the first that is installed; raises EncoreError."""
    candidates = RUNTIMES if wanted == "auto" else (wanted,)
    for name in candidates:
        if shutil.which(name):
            return name
    raise EncoreError(
        f"no {' or '.join(candidates)} on this machine",
        "install Apptainer (on Debian or Ubuntu: playbooks/setup_local.yml), or load its module",
    )


def command(
    request: BuildRequest, base: ResolvedBase, digest: str, wheel_folder: Path | str, image: Path
) -> list[str]:
    """The build's options, without the runtime's name: as an ordinary user, untested, with all arguments."""
    found = base.name if base.bootstrap == "localimage" else base_digest.pinned(base.name, digest)
    arguments = {"wheels": str(wheel_folder)} | request.arguments
    arguments |= {"bootstrap": base.bootstrap, "base": found, "base_digest": digest}
    arguments |= {"version": __version__, "commit": _commit()}
    options = ["--notest", "--force"]
    if runtime(request.runtime) == "apptainer":
        # SingularityCE as on LUMI has neither: it builds through PRoot
        options += [*([] if os.geteuid() == 0 else ["--fakeroot"]), *_COMPRESSION]
    for name, value in sorted(arguments.items()):
        options += ["--build-arg", f"{name}={value}"]
    return options


def _commit() -> str:
    """The kit's commit, `-dirty` where files differ from it; unknown outside a checkout."""
    asked = ["git", "-C", str(kit.ROOT), "-c", f"safe.directory={kit.ROOT}"]
    asked += ["describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def build(request: BuildRequest, say: Say) -> images.BuildRecord:
    """Build, test, record and put in place; raises EncoreError and leaves nothing behind when something fails."""
    base = check(request)
    program = runtime(request.runtime)
    with files.exclusive(request.target), _workplace(request) as work:
        say(f"base {base.name}")
        digest = base_digest.digest(base.bootstrap, base.name)
        if base.known not in (None, digest) and not request.accept_moved_base:
            raise DataError(
                f"the base {base.name} has moved: registry/images.yml names {base.known}, it is {digest} now",
                "see what changed, then give --accept-moved-base",
            )
        wheel_folder = request.arguments.get("wheels") or _wheels(request, say)
        image = work / request.target.name
        given = command(request, base, digest, wheel_folder, image)
        _run_build(program, request, given, image, work, say)
        say("testing")
        _run([program, "test", str(image)], work, "the image does not pass its test", say)
        record = _record(request, base, digest, program, image)
        _put_in_place(request, image, record)
    if request.is_default and record.digest is not None:
        images.write_digests(request.image, base.name, digest, record.digest)
    return record


def _wheels(request: BuildRequest, say: Say) -> Path:
    profile = load_images()[request.image]
    say(f"fetching the requirements {', '.join(profile.requirements)} for Python {profile.python}")
    return wheels.fetch(str(profile.python), profile.requirements, request.cache)


def _run_build(
    program: str, request: BuildRequest, given: list[str], image: Path, work: Path, say: Say
) -> None:
    """Through spython's client, which puts the command together; the process is ours, so that it ends with us."""
    from spython.main import get_client

    client: Any = get_client(quiet=True)
    client._init_command = lambda action, flags=None: [program, *(flags or []), action]
    client._run_command = lambda cmd, **_: _run(
        cmd, work, f"{request.image}.def does not build", say
    )
    recipe = str(definitions.of(request.image).path)
    client.build(
        recipe, image=str(image), sandbox=request.sandbox, sudo=False, options=given, quiet=True
    )


def _run(cmd: Sequence[str], work: Path, failure: str, say: Say) -> None:
    """Run in the kit's folder, which %files is relative to; pass the output on; end the process when we end."""
    variables = {
        name: str(work)
        for name in ("APPTAINER_TMPDIR", "SINGULARITY_TMPDIR")
        if name not in os.environ
    }
    process = subprocess.Popen(
        cmd,
        cwd=kit.ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    last = ""
    try:
        for line in process.stdout or ():
            say(line.rstrip())
            last = line.strip() or last
        process.wait()
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        raise EncoreError(f"{failure}: {last}", "the lines above say why; nothing was put in place")


def _end(process: "subprocess.Popen[str]") -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
            return


@contextlib.contextmanager
def _workplace(request: BuildRequest) -> Iterator[Path]:
    """A folder beside the image for all that is temporary, gone afterwards; an older one goes first."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    request.out.mkdir(parents=True, exist_ok=True)
    prefix = f".{request.target.name}."
    for left in request.out.glob(f"{prefix}*.building"):
        _remove(left)
    work = Path(tempfile.mkdtemp(prefix=prefix, suffix=".building", dir=request.out))
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield work
    finally:
        signal.signal(signal.SIGTERM, before)
        _remove(work)


def _remove(folder: Path) -> None:
    """Remove a tree, folders without the right to write included."""
    for path, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            Path(path).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _record(
    request: BuildRequest, base: ResolvedBase, digest: str, program: str, image: Path
) -> images.BuildRecord:
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.strip()
    return images.BuildRecord(
        image=request.image,
        kit_version=__version__,
        kit_commit=_commit(),
        built=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        runtime=version,
        bootstrap=base.bootstrap,
        base=base.name,
        base_digest=digest,
        arguments=dict(request.arguments),
        digest=None if request.sandbox else f"sha256:{files.sha256(image)}",
    )


def _put_in_place(request: BuildRequest, image: Path, record: images.BuildRecord) -> None:
    images.write_record(request.target, record)
    if request.sandbox and request.target.is_dir():
        _remove(request.target)
    if not request.sandbox:
        files.fsync(image)
    os.replace(image, request.target)
    files.fsync(request.out)


def as_rows(request: BuildRequest) -> list[tuple[str, str]]:
    """What `build` would do, as names and values; looks nothing up and writes nothing."""
    base = check(request)
    program = runtime(request.runtime)
    shown = base.known or "sha256:" + "?" * 64
    placeholder = request.arguments.get("wheels") or f"{request.cache}/…"
    given = command(dataclasses.replace(request), base, shown, placeholder, request.target)
    return [
        ("image", str(request.target)),
        ("definition", str(definitions.of(request.image).path)),
        ("base", f"{base.bootstrap} {base.name}"),
        ("its digest", base.known or "not known yet: looked up and recorded by this build"),
        ("requirements", ", ".join(load_images()[request.image].requirements)),
        ("command", " ".join([program, "build", *given])),
    ]
