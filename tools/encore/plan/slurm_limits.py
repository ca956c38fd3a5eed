"""What Slurm lets a job ask for: partition and quality of service, and the time and nodes of both.

A quality of service with limits of its own (registry/clusters) replaces those of the partition.
"""

from typing import NamedTuple

from encore.errors import UnknownNameError, UsageError, shortened
from encore.plan.records import ClusterUse
from encore.plan.user_config import safe_name
from encore.registry import clusters

# MAX_SLURM_NODES of Slurm's slurm.h: no partition has more.
_MOST_NODES = 65_536
# A job shorter than its start-up, its save and this trains nothing worth its queue time.
_LEAST_TRAINING_S = 60


class Limits(NamedTuple):
    """The limits of one job; `name` says whose they are, max_time None: not known."""

    name: str
    max_time: str | None
    min_nodes: int
    max_nodes: int


def limits(cluster: clusters.Cluster) -> Limits:
    """The limits of the cluster's quality of service, else of its partition."""
    if cluster.scheduler == "none":
        return Limits("this machine", None, 1, 1)
    qos = (cluster.qos_limits or {}).get(cluster.qos or "")
    if qos is not None:
        return Limits(f"qos {cluster.qos}", qos.max_time, qos.min_nodes, qos.max_nodes)
    partition = partition_of(cluster)
    if partition is None:
        return Limits("this cluster", None, 1, _MOST_NODES)
    max_nodes = partition.max_nodes or _MOST_NODES
    return Limits(f"partition {cluster.partition}", partition.max_time, 1, max_nodes)


def partition_of(cluster: clusters.Cluster) -> clusters.Partition | None:
    """The partition that jobs go to; None where it is not known."""
    return (cluster.partitions or {}).get(cluster.partition or "")


def check_names(name: str, cluster: clusters.Cluster, use: ClusterUse) -> None:
    """Raise UsageError or UnknownNameError for a partition or qos that cluster `name` lacks."""
    requested = (
        ("partition", use.partition, cluster.partitions),
        ("qos", use.qos, cluster.qos_limits),
    )
    for key, value, valid in requested:
        if value is None:
            continue
        if cluster.scheduler == "none":
            raise UsageError(f"--set {key}: {name} has no Slurm", "leave it out")
        safe_name(value, f"Slurm {key}")
        if valid and value not in valid:
            raise UnknownNameError(f"{key} of {name}", value, valid)


def time_limit(cluster: clusters.Cluster, requested: str | None) -> str | None:
    """A job's time limit: the requested one, else the cluster's, cut to what Slurm allows.

    Raises UsageError for a request that is no time, too long, or too short to train.
    """
    time = requested or cluster.time
    if time is None:
        return None
    try:
        limit_s = clusters.seconds(time)
    except ValueError as error:
        raise UsageError(f"--time {error}", "for example --time 1-12:00:00") from None
    allowed = limits(cluster)
    if allowed.max_time is not None and limit_s > clusters.seconds(allowed.max_time):
        if requested:
            longer = []
            for qos, other in (cluster.qos_limits or {}).items():
                if clusters.seconds(other.max_time) >= limit_s:
                    longer.append(qos)
            raise UsageError(
                f"--time {time} is more than {allowed.name} allows",
                f"at most {allowed.max_time}{_or_qos(longer)}",
            )
        # a limit that nobody asked for is cut
        limit_s = clusters.seconds(allowed.max_time)
    overhead_s = cluster.margins.startup_s + cluster.margins.save_s
    if limit_s < overhead_s + _LEAST_TRAINING_S:
        raise UsageError(
            f"--time {time} leaves no time to train between start-up and save",
            f"give at least {overhead_s // 60 + 1} minutes",
        )
    return clusters.duration(limit_s)


def check_nodes(cluster: clusters.Cluster, nodes: int) -> None:
    """Raise UsageError for a number of nodes that one job cannot have."""
    allowed = limits(cluster)
    if allowed.min_nodes <= nodes <= allowed.max_nodes:
        return
    suitable = []
    for qos, other in (cluster.qos_limits or {}).items():
        if other.min_nodes <= nodes <= other.max_nodes:
            suitable.append(qos)
    raise UsageError(
        f"--nodes {shortened(str(nodes))} cannot be had on {allowed.name}",
        f"{allowed.min_nodes} to {allowed.max_nodes}{_or_qos(suitable)}",
    )


def _or_qos(names: list[str]) -> str:
    if not names:
        return ""
    return f", or --set qos={' or '.join(names)}"
