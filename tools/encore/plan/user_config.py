"""The user's defaults: cluster, account, workspace. They are kept outside the repository, in
~/.config/encore/config.yml:

cluster: lumi
account: project_465000000
workspace: /scratch/project_465000000/me/encore
folders:                      # optional: a kind of files in another place than the workspace
  images: /projappl/project_465000000/images
"""

import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from encore.errors import RegistryError, UnknownNameError, UsageError, shortened
from encore.plan.run_paths import FOLDER_KINDS
from encore.registry import clusters, strict_yaml

# No blank, quote, comma or colon: Megatron's data-path lines split on them, and without them no
# path can break out of a job script.
_SAFE_PATH = re.compile(r"/[A-Za-z0-9._/+@=-]+")
# NAME_MAX and PATH_MAX of Linux, less what a run's own folders and files add
_LONGEST_NAME = 255
_LONGEST_PATH = 2000
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_FALLBACK_CLUSTER = "lumi"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UserConfig:
    """The configuration file's content; all of it optional."""

    cluster: str | None = None
    account: str | None = None
    workspace: str | None = None
    folders: dict[str, str] = field(default_factory=dict)


def path() -> Path:
    """The configuration file: $XDG_CONFIG_HOME/encore/config.yml."""
    home = os.environ.get("XDG_CONFIG_HOME")
    if not home:
        try:
            home = str(Path.home() / ".config")
        except RuntimeError:
            # a user without a home folder has no configuration
            home = "~/.config"
    return Path(home) / "encore" / "config.yml"


def load(file: Path | None = None) -> UserConfig:
    """The user's configuration, empty without a file.

    Raises RegistryError for keys or values of a wrong form, or what is no file; UsageError for a
    folder that cannot be in a job script.
    """
    file = file or path()
    if not os.path.lexists(file):
        return UserConfig()
    if not file.is_file():
        raise RegistryError(f"{file} is not a file", "write your defaults there, or remove it")
    config = strict_yaml.load(file, UserConfig)
    for kind, folder in config.folders.items():
        if kind not in FOLDER_KINDS:
            raise UnknownNameError(f"folder in {file}", kind, FOLDER_KINDS)
        safe_path(folder, f"folders.{kind} in {file}")
    return config


def safe_path(text: str, what: str) -> str:
    """`text` as an absolute path of plain characters; raises UsageError otherwise."""
    try:
        absolute = os.path.abspath(Path(text).expanduser())
    except RuntimeError:
        raise UsageError(
            f"{what}: no home folder is known for {shortened(text)!r}", "write the whole path"
        ) from None
    if not text or not _SAFE_PATH.fullmatch(absolute):
        raise UsageError(
            f"{what}: {shortened(text)!r} cannot be used in a job script",
            "use a path of letters, digits and . _ / + @ = - only",
        )
    longest_name = max(map(len, absolute.split("/")))
    if longest_name > _LONGEST_NAME or len(absolute) > _LONGEST_PATH:
        raise UsageError(
            f"{what}: {shortened(text)!r} is too long", f"use at most {_LONGEST_PATH} characters"
        )
    return absolute


def safe_name(text: str, what: str) -> str:
    """`text` as a name in Slurm, such as an account.

    Raises UsageError for what could break out of an #SBATCH line.
    """
    if not _SAFE_NAME.fullmatch(text):
        raise UsageError(
            f"{shortened(text)!r} is not a {what}", "use letters, digits and _ . - only"
        )
    return text


def default_cluster(config: UserConfig) -> str:
    """The configured cluster, else the one whose Slurm this machine belongs to, else lumi.

    The last is a guess, so the log says that it was made.
    """
    if config.cluster:
        return config.cluster
    slurm_name = os.environ.get("SLURM_CLUSTER_NAME") or _slurm_conf_cluster()
    if slurm_name:
        for name in clusters.cluster_names():
            if clusters.load_cluster(name).slurm_cluster_name == slurm_name:
                return name
    log.info(
        "no cluster configured: planning for %s; set one with --cluster or in %s",
        _FALLBACK_CLUSTER,
        path(),
    )
    return _FALLBACK_CLUSTER


def _slurm_conf_files() -> list[Path]:
    """The files that may be slurm.conf; the last is where configless Slurm keeps its copy."""
    configured = os.environ.get("SLURM_CONF")
    if configured:
        # As for Slurm's own commands, the variable replaces the usual places.
        return [Path(configured)]
    return [Path("/etc/slurm/slurm.conf"), Path("/run/slurm/conf/slurm.conf")]


def _slurm_conf_cluster() -> str | None:
    """The cluster's name in the first slurm.conf that states one."""
    for file in _slurm_conf_files():
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue
        match = re.search(r"(?im)^\s*ClusterName\s*=\s*(\S+)", text)
        if match:
            return match[1]
    return None
