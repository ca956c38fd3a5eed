"""Find what would fail in the queue before it does: one function per check, each returns findings.

Checks look at this machine and ask Slurm and the Hub; `job_checks` has what a short job finds.
"""

import functools
import getpass
import logging
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path

from encore import files, hub_library
from encore.checkpoints import file_names
from encore.errors import DataError, EncoreError, HubError
from encore.findings import Finding
from encore.hub import client
from encore.images import record
from encore.jobs import render, resume_check, slurm
from encore.plan import trainer_args
from encore.plan.records import Plan
from encore.tokens.manifest import TOKENIZE_AGAIN, Manifest

_VERSION_TIMEOUT_S = 60
_SPACE_TIMEOUT_S = 60
# SQUASHFS_MAGIC of Linux, include/uapi/linux/magic.h
_SQUASHFS_MAGIC = b"hsqs"
_FREE_SPACE = Path(__file__).with_name("free_space.sh")
# room for the shards of a run's checkpoints, its events and logs
_MIN_FREE_INODES = 10_000

Check = Callable[[Plan], list[Finding]]

log = logging.getLogger(__name__)


def runtime(plan: Plan) -> list[Finding]:
    """The container runtime is installed, and new enough."""
    name = plan.cluster.runtime
    if name == "none":
        return []
    if name == "pyxis":
        has_pyxis = "--container-image" in slurm.ask("srun", "--help")
        detail = f"srun {'has' if has_pyxis else 'lacks'} --container-image"
        return [Finding("pyxis", has_pyxis, detail, "name a cluster without pyxis: --cluster cuda")]
    if shutil.which(name) is None:
        advice = f"module load {name}, or name a cluster of another runtime with --cluster"
        return [Finding(name, False, "not on this machine", advice)]
    result = subprocess.run(
        [name, "--version"], capture_output=True, text=True, check=False, timeout=_VERSION_TIMEOUT_S
    )
    # "apptainer version 1.4.5", also where it is installed under the name singularity, or
    # "singularity-ce version 4.1.3"
    match = re.match(r"(\S+) version ([0-9]+(?:\.[0-9]+)+)", result.stdout)
    if match is None:
        detail = result.stdout.strip() or "prints no version"
        return [Finding(name, False, detail, f"see what is installed: {name} --version")]
    product, version = match.groups()
    required = plan.cluster.runtime_versions.get(product)
    is_new_enough = required is None or _version(version) >= _version(required)
    advice = f"install {product} {required} or newer"
    return [Finding(name, is_new_enough, f"{product} {version}", advice)]


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def image(plan: Plan) -> list[Finding]:
    """The image exists, is for the nodes' architecture, and is the one that was recorded."""
    location = render.image_path(plan)
    if location is None:
        return []
    path = Path(location)
    name = plan.software.image_name
    build = f"tools/build_image.py {name} --out {shlex.quote(plan.paths.images)}"
    if not path.is_file():
        return [Finding("image", False, f"{path} is missing", build)]
    if plan.cluster.runtime == "pyxis":
        is_squashfs = files.starts_with(path, _SQUASHFS_MAGIC)
        detail = f"{path} is a squashfs file"
        if not is_squashfs:
            detail = f"{path} is not a squashfs file"
        advice = f"make one with the commands at the end of containers/{name}.def"
        return [Finding("image", is_squashfs, detail, advice)]
    identity = record.identify(path, name)
    detail = f"{identity.digest[:19]}…: {identity.reason}"
    return [Finding("image", identity.is_named is not False, detail, build)]


def data(plan: Plan) -> list[Finding]:
    """Every .bin/.idx pair is readable and whole, and matches its manifest."""
    try:
        from encore.tokens.indexed import IndexedDataset
    except ModuleNotFoundError as error:
        detail = f"{error.name} is not installed; in the kit's folder: pip install -e '.[data]'"
        return [Finding("data", None, detail)]
    findings = []
    for prefix in plan.data.prefixes:
        path = f"{plan.paths.data}/{prefix}"
        try:
            dataset = IndexedDataset(path)
        except (DataError, OSError) as error:
            findings.append(
                Finding(prefix, False, str(error), "tools/prepare_corpus.py tokenize makes it")
            )
            continue
        detail = f"{dataset.token_count:,} tokens in {dataset.document_count:,} documents"
        try:
            manifest = Manifest.read(path)
        except DataError as error:
            findings.append(Finding(prefix, False, str(error), error.hint))
            continue
        if manifest is None:
            findings.append(Finding(prefix, True, f"{detail}, no manifest"))
            continue
        mismatch = manifest.mismatch(dataset)
        findings.append(Finding(prefix, mismatch is None, mismatch or detail, TOKENIZE_AGAIN))
    return findings


def tokenizer(plan: Plan) -> list[Finding]:
    """The tokenizer's files exist, with the hashes that the registry states, if it does."""
    facts = plan.data.tokenizer
    folder = Path(plan.paths.tokenizers) / facts.name
    # the source begins with an address; what follows says how its hashes were checked
    advice = f"copy it into {folder} from {facts.source.partition(';')[0]}"
    if not facts.files:
        workspace = shlex.quote(plan.paths.workspace)
        advice = f"tools/run_demo.py --data-only --workspace {workspace}"
    findings = []
    for name in facts.files or ("vocab.json", "merges.txt"):
        what = f"{facts.name}/{name}"
        path = folder / name
        if not path.is_file():
            findings.append(Finding(what, False, f"{path} is missing", advice))
        elif not facts.files:
            findings.append(Finding(what, True, "present"))
        elif files.sha256(path) == facts.files[name]:
            findings.append(Finding(what, True, "the registry's hash"))
        else:
            detail = f"{path} does not have the hash in registry/tokenizers.yml"
            findings.append(Finding(what, False, detail, advice))
    return findings


def space(plan: Plan) -> list[Finding]:
    """The checkpoints' folder is writable and has room for them all, within any quota."""
    folder = plan.paths.checkpoints
    result = subprocess.run(
        ["sh", _FREE_SPACE, folder],
        capture_output=True,
        text=True,
        check=True,
        timeout=_SPACE_TIMEOUT_S,
    )
    free_gib, free_inodes = result.stdout.split()[-2:]
    if free_gib == "none":
        detail = f"{folder} cannot be created or written"
        return [Finding("disk", False, detail, "name a folder that you may write with --workspace")]
    required_gib = plan.cost.checkpoints_kept_bytes / 2**30
    all_runs = shlex.quote(str(Path(folder).parent))
    prune = f"tools/prune_checkpoints.py {all_runs}/* --keep-last 1"
    return [
        Finding(
            "disk",
            free_gib == "unlimited" or int(free_gib) > required_gib,
            f"{free_gib} GiB free, {required_gib:,.1f} GiB if all checkpoints are kept",
            f"{prune}, or keep fewer: --set save_interval=N",
        ),
        Finding(
            "inodes",
            free_inodes == "unlimited" or int(free_inodes) > _MIN_FREE_INODES,
            f"{free_inodes} free",
            prune,
        ),
    ]


def queue(plan: Plan) -> list[Finding]:
    """Slurm answers, has the partition and account, and would start this very script."""
    if plan.cluster.scheduler != "slurm":
        return []
    partitions = slurm.partitions()
    logs = Path(plan.paths.logs)
    detail = str(logs)
    if not logs.is_dir():
        detail = f"{logs} is missing: Slurm kills a job without a message if it cannot open its log"
    findings = [
        Finding("slurm", True, f"{len(partitions)} partitions"),
        Finding("log folder", logs.is_dir(), detail, f"mkdir -p {shlex.quote(str(logs))}"),
    ]
    if plan.job.partition is not None:
        findings.append(_partition(plan.job.partition, partitions))
    findings.append(_account(plan))
    if plan.job.qos is not None and plan.job.account is not None:
        findings.append(_qos(plan.job.qos, plan.job.account))
    try:
        answer = slurm.test_only(render.train_script(plan))
        findings.append(Finding("script", True, answer.removeprefix("sbatch: ")))
    except slurm.SlurmError as error:
        advice = (
            error.hint or "try other --nodes, --time, --account or --set partition=NAME qos=NAME"
        )
        findings.append(Finding("script", False, str(error), advice))
    return findings


def _partition(name: str, partitions: dict[str, slurm.PartitionState]) -> Finding:
    names = ", ".join(partitions)
    advice = f"--set partition=NAME, one of {names}"
    state = partitions.get(name)
    if state is None:
        return Finding("partition", False, f"no partition {name}; there are {names}", advice)
    detail = f"{state.nodes} nodes, limit {state.max_time}"
    if not state.available:
        detail += f", but {name} is down"
    return Finding("partition", state.available, detail, advice)


def _account(plan: Plan) -> Finding:
    accounts = slurm.accounts(getpass.getuser())
    if accounts is None:
        return Finding("account", None, "this Slurm keeps no accounts")
    advice = f"--account NAME, one of {', '.join(sorted(accounts))}"
    account = plan.job.account
    if account is None:
        return Finding("account", not plan.cluster.account_required, "none", advice)
    return Finding("account", account in accounts, account, advice)


def _qos(name: str, account: str) -> Finding:
    names = slurm.qos_names(getpass.getuser(), account)
    if names is None:
        return Finding("qos", None, "this Slurm keeps no accounts")
    valid = ", ".join(sorted(names)) or "none"
    return Finding("qos", name in names, name, f"--set qos=NAME, one of {valid}")


def resume(plan: Plan) -> list[Finding]:
    """Whether the run may go on from its last checkpoint, as the job itself checks; [] without."""
    step = file_names.latest(Path(plan.paths.checkpoints))
    if plan.software.trainer.counts != "steps" or step is None:
        return []
    refusal = resume_check.refusal(trainer_args.trainer_args(plan))
    advice = "or train it elsewhere: --workspace FOLDER"
    return [Finding("resume", not refusal, refusal or f"from {step}", advice)]


def hub(plan: Plan) -> list[Finding]:
    """The Hugging Face Hub answers and accepts the login; its library alone reads the token."""
    if plan.cluster.scheduler == "none":
        return []
    if not hub_library.is_installed():
        detail = f"huggingface_hub is not installed; {hub_library.INSTALL_HINT}"
        return [Finding("hub", None, detail)]
    if hub_library.is_offline():
        return [Finding("hub", None, "HF_HUB_OFFLINE is set")]
    try:
        with hub_library.short_timeout():
            user = client.username()
    except HubError as error:
        return [Finding("hub", False, str(error), error.hint)]
    return [Finding("hub", True, f"logged in as {user}")]


CHECKS: dict[str, Check] = {
    "runtime": runtime,
    "image": image,
    "data": data,
    "tokenizer": tokenizer,
    "space": space,
    "resume": resume,
    "queue": queue,
    "hub": hub,
}


def examine(plan: Plan, skip: Collection[str] = ()) -> list[Finding]:
    """All findings that need no job."""
    findings = []
    for name, check in CHECKS.items():
        if name not in skip:
            findings += run_check(name, functools.partial(check, plan), f"--skip {name}")
    return findings


def run_check(name: str, check: Callable[[], list[Finding]], skip_option: str) -> list[Finding]:
    """The check's findings; an exception of its own is a finding too, so that the rest still runs.

    skip_option: how to run the doctor without this check.
    """
    try:
        return check()
    except EncoreError as error:
        return [Finding(name, False, str(error), error.hint or skip_option)]
    except Exception as error:
        log.debug("the check %s failed", name, exc_info=True)
        detail = f"the check itself failed: {type(error).__name__}: {error}"
        return [Finding(name, False, " ".join(detail.split()), f"leave it out with {skip_option}")]
