"""What would fail in the queue, found before it: one function per check, each returns its findings.

Checks look at this machine and ask Slurm; what a job finds is in `job_checks`.
"""

import functools
import getpass
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from encore import files
from encore.errors import DataError, EncoreError
from encore.images import record as images
from encore.jobs import render, slurm
from encore.plan.records import Plan
from encore.tokens.manifest import TOKENIZE_AGAIN, Manifest

_VERSION_TIMEOUT_S = 60
_SQUASHFS_MAGIC = b"hsqs"
_FREE_SPACE = Path(__file__).with_name("free_space.sh")
_LEAST_FILES = 10_000


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table; `right` None: it could not be looked at, and why stands in `seen`."""

    what: str
    right: bool | None
    seen: str
    advice: str = ""


Check = Callable[[Plan], list[Finding]]


def runtime(plan: Plan) -> list[Finding]:
    """The container runtime is there and new enough."""
    name = plan.cluster.runtime
    if name == "none":
        return []
    if name == "pyxis":
        offered = "--container-image" in slurm.ask("srun", "--help")
        seen = f"srun {'takes' if offered else 'lacks'} --container-image"
        return [Finding("pyxis", offered, seen, "ask the site for pyxis, or choose --cluster cuda")]
    if shutil.which(name) is None:
        return [
            Finding(
                name,
                False,
                "not on this machine",
                f"load or install {name}, or choose another --cluster",
            )
        ]
    done = subprocess.run(
        [name, "--version"], capture_output=True, text=True, check=False, timeout=_VERSION_TIMEOUT_S
    )
    # "apptainer version 1.4.5", also where it goes by the name of singularity; "singularity-ce version 4.1.3"
    match = re.match(r"(\S+) version (\d+(?:\.\d+)+)", done.stdout)
    if match is None:
        return [Finding(name, False, done.stdout.strip() or "says no version", f"reinstall {name}")]
    product, version = match.groups()
    least = plan.cluster.runtime_versions.get(product)
    enough = least is None or _numbers(version) >= _numbers(least)
    return [Finding(name, enough, f"{product} {version}", f"{product} {least} or newer is needed")]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def image(plan: Plan) -> list[Finding]:
    """The image is there, for this machine's architecture, and the one that its record and the registry describe."""
    place, name = render.image_path(plan), plan.software.image_name
    if place is None:
        return []
    build = f"tools/build_image.py {name} --out {shlex.quote(plan.paths.images)}"
    if not Path(place).is_file():
        return [Finding("image", False, f"{place} is missing", build)]
    if plan.cluster.runtime == "pyxis":
        right = files.starts_with(Path(place), _SQUASHFS_MAGIC)
        return [
            Finding(
                "image",
                right,
                f"{place} is {'a' if right else 'no'} squashfs file",
                f"see {name}.def, %help",
            )
        ]
    found = images.identify(Path(place), name)
    return [
        Finding(
            "image", found.is_named is not False, f"{found.digest[:19]}…: {found.reason}", build
        )
    ]


def data(plan: Plan) -> list[Finding]:
    """Every .bin/.idx pair is there, readable, whole, and the one that its manifest describes."""
    try:
        from encore.tokens.indexed import IndexedDataset
    except ImportError:
        return [
            Finding(
                "data",
                None,
                "numpy is not installed (in the kit's folder: pip install -e '.[data]')",
            )
        ]
    findings = []
    for prefix in plan.data.prefixes:
        path = f"{plan.paths.data}/{prefix}"
        try:
            dataset = IndexedDataset(path)
        except (DataError, OSError) as error:
            findings.append(
                Finding(prefix, False, str(error), "make it with tools/prepare_corpus.py tokenize")
            )
            continue
        seen = f"{dataset.token_count:,} tokens in {dataset.document_count:,} documents"
        try:
            manifest = Manifest.read(path)
        except DataError as error:
            findings.append(Finding(prefix, False, str(error), error.hint))
            continue
        if manifest is None:
            findings.append(Finding(prefix, True, f"{seen}, no manifest"))
            continue
        mismatch = manifest.mismatch(dataset)
        findings.append(Finding(prefix, mismatch is None, mismatch or seen, TOKENIZE_AGAIN))
    return findings


def tokenizer(plan: Plan) -> list[Finding]:
    """The tokenizer's files are there, with the hashes that the registry states."""
    record = plan.data.tokenizer
    folder = Path(plan.paths.tokenizers) / record.name
    findings = []
    for name in record.files or dict.fromkeys(("vocab.json", "merges.txt")):
        path = folder / name
        if not path.is_file():
            findings.append(
                Finding(f"{record.name}/{name}", False, "missing", f"put it into {folder}")
            )
        elif record.files:
            same = files.sha256(path) == record.files[name]
            findings.append(
                Finding(
                    f"{record.name}/{name}",
                    same,
                    "the registry's hash" if same else "another hash",
                    "copy it again",
                )
            )
        else:
            findings.append(Finding(f"{record.name}/{name}", True, "present"))
    return findings


def space(plan: Plan) -> list[Finding]:
    """The place of the checkpoints can be written and has room for them all, by its quota where it has one."""
    place = plan.paths.checkpoints
    said = subprocess.run(
        ["sh", _FREE_SPACE, place], capture_output=True, text=True, check=True
    ).stdout.split()
    gib, count = said[-2:]
    if gib == "none":
        return [
            Finding(
                "disk",
                False,
                f"{place} can be neither made nor written",
                "choose another --workspace",
            )
        ]
    need = plan.cost.checkpoints_kept_bytes / 2**30
    advice = "free space, or keep fewer checkpoints with --set save_interval"
    seen = f"{gib} GiB free, {need:,.1f} GiB if all checkpoints are kept"
    findings = [Finding("disk", gib == "unlimited" or int(gib) > need, seen, advice)]
    enough = count == "unlimited" or int(count) > _LEAST_FILES
    return [*findings, Finding("inodes", enough, f"{count} free", "delete or pack small files")]


def queue(plan: Plan) -> list[Finding]:
    """Slurm answers, knows partition and account, and would start this very script."""
    if plan.cluster.scheduler != "slurm":
        return []
    partitions = slurm.partitions()
    logs = Path(plan.paths.logs)
    seen = (
        str(logs)
        if logs.is_dir()
        else f"{logs} is missing: a job whose log cannot be opened dies without a word"
    )
    findings = [
        Finding("slurm", True, f"{len(partitions)} partitions"),
        Finding("log folder", logs.is_dir(), seen, f"mkdir -p {logs}"),
    ]
    wanted = plan.job.partition
    if wanted is not None:
        state = partitions.get(wanted)
        seen = (
            f"{state.nodes} nodes, limit {state.max_time}"
            if state
            else f"no {wanted}; there are {', '.join(partitions)}"
        )
        findings.append(
            Finding("partition", bool(state and state.available), seen, "choose --set partition")
        )
    findings += _account(plan)
    try:
        said = slurm.test_only(render.train_script(plan))
        findings.append(Finding("script", True, said.removeprefix("sbatch: ")))
    except slurm.SlurmError as error:
        findings.append(Finding("script", False, str(error), "change what it names"))
    return findings


def _account(plan: Plan) -> list[Finding]:
    known, wanted = slurm.accounts(getpass.getuser()), plan.job.account
    if known is None:
        return [Finding("account", None, "this Slurm keeps no accounts that could be asked for")]
    if wanted is None:
        return [
            Finding(
                "account",
                not plan.cluster.account_required,
                "none is given",
                f"one of {', '.join(sorted(known))}",
            )
        ]
    return [Finding("account", wanted in known, wanted, f"one of {', '.join(sorted(known))}")]


def hub(plan: Plan) -> list[Finding]:
    """The Hugging Face Hub answers and knows who asks; the token stays with the Hub's own library."""
    if plan.cluster.scheduler == "none":
        return []
    try:
        from huggingface_hub import HfApi, constants, errors
    except ImportError:
        return [
            Finding(
                "hub",
                None,
                "huggingface_hub is not installed (in the kit's folder: pip install -e '.[hub]')",
            )
        ]
    if constants.HF_HUB_OFFLINE:
        return [Finding("hub", None, "HF_HUB_OFFLINE is set")]
    try:
        user = HfApi().whoami()["name"]
    except errors.LocalTokenNotFoundError:
        return [Finding("hub", False, "not logged in", "hf auth login")]
    except (
        Exception
    ) as error:  # whatever the network does is a finding, not a failure of the doctor
        return [
            Finding(
                "hub",
                False,
                f"does not answer: {type(error).__name__}",
                "check the network, or set HF_HUB_OFFLINE=1",
            )
        ]
    return [Finding("hub", True, f"logged in as {user}")]


CHECKS: dict[str, Check] = {
    "runtime": runtime,
    "image": image,
    "data": data,
    "tokenizer": tokenizer,
    "space": space,
    "queue": queue,
    "hub": hub,
}


def examine(plan: Plan, skip: Collection[str] = ()) -> list[Finding]:
    """All findings that need no job; what a check itself trips over is a finding too."""
    chosen = [name for name in CHECKS if name not in skip]
    return [
        finding
        for name in chosen
        for finding in _safely(name, functools.partial(CHECKS[name], plan))
    ]


def _safely(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except EncoreError as error:
        return [Finding(name, False, str(error), error.hint)]
