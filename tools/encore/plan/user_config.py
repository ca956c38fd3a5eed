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

from encore.errors import UnknownNameError, UsageError
from encore.plan.run_paths import FOLDER_KINDS
from encore.registry import clusters, strict_yaml

# No blank, quote, comma or colon: Megatron's data-path lines split on them, and without them no
# path can break out of a job script.
_SAFE_PATH = re.compile(r"/[A-Za-z0-9._/+@=-]+")
_SAFE_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
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
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "encore" / "config.yml"


def load(file: Path | None = None) -> UserConfig:
    """The user's configuration, empty without a file.

    Raises RegistryError for keys or values of a wrong form, UsageError for a folder that cannot be
    in a job script.
    """
    file = file or path()
    if not file.is_file():
        return UserConfig()
    config = strict_yaml.load(file, UserConfig)
    for kind, folder in config.folders.items():
        if kind not in FOLDER_KINDS:
            raise UnknownNameError(f"folder in {file}", kind, FOLDER_KINDS)
        safe_path(folder, f"folders.{kind} in {file}")
    return config


def safe_path(text: str, what: str) -> str:
    """`text` as an absolute path of plain characters; raises UsageError otherwise."""
    absolute = os.path.abspath(Path(text).expanduser())
    if not _SAFE_PATH.fullmatch(absolute):
        raise UsageError(
            f"{what}: {text!r} cannot be used in a job script",
            "use a path of letters, digits and . _ / + @ = - only",
        )
    return absolute


def safe_account(text: str) -> str:
    """`text` as a Slurm account; raises UsageError for what could break out of an #SBATCH line."""
    if not _SAFE_ACCOUNT.fullmatch(text):
        raise UsageError(f"{text!r} is not a Slurm account", "use letters, digits and _ . - only")
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
