"""Where a run goes and what it costs there: nodes, layout, job limits, hours, memory, billing."""

import dataclasses
import math
from typing import Literal, NamedTuple

from encore.errors import UnknownNameError, UsageError
from encore.model.config import ModelConfig, padded_vocabulary
from encore.plan import layout, sizing, slurm_limits
from encore.plan.overrides import Overrides
from encore.plan.records import ClusterUse, Cost, JobResources, Training
from encore.registry import clusters
from encore.registry.accelerators import Accelerator, load_accelerators
from encore.registry.regimes import RegimeBatch
from encore.registry.trainers import Pin

# The most nodes that a plan asks for without --nodes.
_MOST_NODES = 64


class Site(NamedTuple):
    """A cluster with the user's overrides applied; `node_gpus` is what a whole node has."""

    cluster: clusters.Cluster
    use: ClusterUse
    accelerator: Accelerator
    node_gpus: int
    time: str | None

    @property
    def partition(self) -> clusters.Partition | None:
        """The partition that jobs go to; None where it is not known."""
        return slurm_limits.partition_of(self.cluster)

    @property
    def whole_nodes(self) -> bool:
        """Whether a job asks for every GPU of its nodes."""
        return self.use.gpus_per_node == self.node_gpus

    @property
    def job_hours(self) -> float:
        """Hours that one job trains: its limit less start-up and save."""
        if self.time is None:
            return math.inf
        margins = self.cluster.margins
        return (clusters.seconds(self.time) - margins.startup_s - margins.save_s) / 3600

    @property
    def device_flops(self) -> float:
        """FLOP/s that a device is expected to sustain."""
        speed = self.cluster.speed
        if speed.sustained_flops is not None:
            return speed.sustained_flops
        peak = self.accelerator.peak_bf16_flops
        if peak is None or speed.mfu is None:
            raise UsageError(
                f"registry/accelerators.yml states no peak FLOP/s for {self.accelerator.name}",
                "--set accelerator=NAME of one that has a peak",
            )
        return peak * speed.mfu


class Workload(NamedTuple):
    """What is to be placed: a model and how it is trained.

    `model` has its vocabulary of `vocabulary` entries padded for one device, not yet for a
    tensor-parallel degree.
    """

    model: ModelConfig
    vocabulary: int
    training: Training
    batch: RegimeBatch
    pin: Pin
    overrides: Overrides


class Spread(NamedTuple):
    """A model on a number of nodes: its layout, whether that fits the memory, hours of the run."""

    nodes: int
    model: ModelConfig
    layout: sizing.Layout
    fits: bool
    hours: float


def site(name: str, overrides: Overrides, requested_time: str | None) -> Site:
    """The cluster `name` with the user's overrides.

    Raises UnknownNameError or UsageError for an accelerator, partition, launch mode, number of GPUs
    or time limit that the cluster does not have.
    """
    cluster = _with_described_node(clusters.load_cluster(name), overrides)
    use = _cluster_use(name, cluster, overrides)
    node = cluster.node
    # a part of a node gets its share of the memory
    memory_gib = node.memory_gib
    if memory_gib is not None:
        memory_gib = memory_gib * use.gpus_per_node // node.gpus
    speed = cluster.speed
    if use.mfu is not None:
        # a profile states one of the two
        speed = dataclasses.replace(speed, mfu=use.mfu, sustained_flops=None)
    adjusted = dataclasses.replace(
        cluster,
        partition=use.partition,
        qos=use.qos,
        speed=speed,
        accelerator=use.accelerator,
        launch=_launch(cluster, use),
        node=dataclasses.replace(
            node, gpus=use.gpus_per_node, cores=use.cores_per_node, memory_gib=memory_gib
        ),
    )
    accelerator = load_accelerators()[use.accelerator]
    return Site(
        adjusted, use, accelerator, node.gpus, slurm_limits.time_limit(adjusted, requested_time)
    )


def _with_described_node(cluster: clusters.Cluster, overrides: Overrides) -> clusters.Cluster:
    """The cluster with the node that the user describes, where the profile's node is a guess.

    Without known partitions, GPUs and cores that are set together are a whole node's; GPUs set
    alone are a part of the profile's node.
    """
    guessed = cluster.scheduler != "none" and not cluster.partitions
    if not guessed or not {"gpus_per_node", "cores_per_node"} <= overrides.values.keys():
        return cluster
    node = dataclasses.replace(
        cluster.node,
        gpus=overrides.get("gpus_per_node", cluster.node.gpus),
        cores=overrides.get("cores_per_node", cluster.node.cores),
    )
    return dataclasses.replace(cluster, node=node)


def _cluster_use(name: str, cluster: clusters.Cluster, overrides: Overrides) -> ClusterUse:
    defaults = ClusterUse(
        partition=cluster.partition,
        qos=cluster.qos,
        launch=_default_launch(cluster, overrides.get("gpus_per_node", cluster.node.gpus)),
        accelerator=cluster.accelerator,
        gpus_per_node=cluster.node.gpus,
        cores_per_node=cluster.node.cores,
        image=cluster.image,
        mfu=cluster.speed.mfu,
        large_scale=False,
    )
    use = overrides.apply(defaults)
    if use.accelerator not in load_accelerators():
        raise UnknownNameError("accelerator", use.accelerator, load_accelerators())
    slurm_limits.check_names(name, cluster, use)
    # Without known partitions the profile's node is a guess, which --set corrects upwards too.
    if cluster.partitions and use.gpus_per_node > cluster.node.gpus:
        raise UsageError(
            f"{use.gpus_per_node} GPUs are more than a node of {name} has",
            f"at most {cluster.node.gpus}",
        )
    _check_launch(name, cluster, use)
    return use


def _default_launch(cluster: clusters.Cluster, gpus: int) -> Literal["tasks", "torchrun", "single"]:
    if cluster.scheduler != "none":
        return cluster.launch.mode
    # one process needs no launcher, several need torchrun
    return "single" if gpus == 1 else "torchrun"


def _check_launch(name: str, cluster: clusters.Cluster, use: ClusterUse) -> None:
    valid = ["tasks", "torchrun"]
    if cluster.scheduler == "none":
        valid = ["torchrun"]
        if use.gpus_per_node == 1:
            valid.append("single")
    if use.launch not in valid:
        raise UsageError(
            f"--set launch={use.launch} cannot start {use.gpus_per_node} ranks per node on {name}",
            f"valid: {', '.join(valid)}",
        )


def _launch(cluster: clusters.Cluster, use: ClusterUse) -> clusters.Launch:
    launch = cluster.launch
    if cluster.scheduler == "none":
        return dataclasses.replace(launch, mode=use.launch)
    whole_nodes = use.gpus_per_node == cluster.node.gpus
    cores = use.cores_per_node
    if cores == cluster.node.cores:
        # the whole node's, of which the GPUs in use get their share; others are theirs already
        cores = max(1, cores * use.gpus_per_node // cluster.node.gpus)
    if use.launch == "torchrun":
        # its one task per node gets the cores of all the GPUs that are asked for
        return dataclasses.replace(launch, mode=use.launch, cpus_per_task=cores, cpu_bind_masks=())
    # Core masks name the cores of a whole node; on part of one they would name other jobs' cores.
    masks = launch.cpu_bind_masks if whole_nodes else ()
    cores = max(1, cores // use.gpus_per_node)
    return dataclasses.replace(launch, mode=use.launch, cpus_per_task=cores, cpu_bind_masks=masks)


def choose_nodes(work: Workload, site: Site, nodes: int | None) -> Spread:
    """The workload on `nodes`; None: on the fewest that finish within one job.

    Where even the most nodes that the batch can be spread over do not, on those.
    """
    if nodes is not None:
        slurm_limits.check_nodes(site.cluster, nodes)
        return _spread(nodes, work, site)
    allowed = slurm_limits.limits(site.cluster)
    # The regime bounds how thinly a batch is spread when the user does not choose the nodes.
    most_gpus = work.training.global_batch_size // work.batch.least_sequences_per_gpu
    most_nodes = min(allowed.max_nodes, _MOST_NODES, most_gpus // site.use.gpus_per_node)
    if site.time is None:
        # without a time limit every run finishes within one job
        most_nodes = 1
    # Doubling keeps the devices a divisor of the batch, which is a power of two in the paper.
    first = 1 << (allowed.min_nodes - 1).bit_length()
    spread = _spread(first, work, site)
    while spread.nodes * 2 <= most_nodes:
        if spread.fits and spread.hours <= site.job_hours:
            break
        try:
            spread = _spread(spread.nodes * 2, work, site)
        except UsageError:
            # A batch that twice the devices do not divide.
            break
    return spread


def _spread(nodes: int, work: Workload, site: Site) -> Spread:
    def model_at(tensor_parallel: int) -> ModelConfig:
        rows = padded_vocabulary(work.vocabulary, tensor_parallel=tensor_parallel)
        return dataclasses.replace(work.model, padded_vocab_size=rows)

    devices = layout.Devices(
        count=nodes * site.use.gpus_per_node,
        per_node=site.use.gpus_per_node,
        memory_gib=site.accelerator.memory_gib,
        # bf16 on a CPU is several times slower than fp32
        precision="fp32" if site.accelerator.vendor == "cpu" else "bf16",
        largest_micro_batch=work.batch.largest_micro_batch,
        tensor_parallel=work.pin.tensor_parallel,
    )
    training = work.training
    best, fits = layout.choose_layout(
        model_at, devices, training.global_batch_size, training.sequence_length, work.overrides
    )
    model = model_at(best.tensor_parallel)
    flops = sizing.flops_exact(model, training.tokens, training.sequence_length)
    hours = flops / (devices.count * site.device_flops) / 3600
    return Spread(nodes, model, best, fits, hours)


def job_resources(site: Site, nodes: int, account: str | None) -> JobResources:
    """What one job asks Slurm for."""
    cluster = site.cluster
    # The trainer then saves and exits by itself, before Slurm kills the job.
    exit_minutes = None
    if site.time is not None:
        exit_minutes = int(site.job_hours * 60)
    return JobResources(
        nodes=nodes,
        gpus_per_node=cluster.node.gpus,
        tasks_per_node=cluster.node.gpus if cluster.launch.mode == "tasks" else 1,
        cpus_per_task=cluster.launch.cpus_per_task,
        launch=cluster.launch.mode,
        whole_nodes=site.whole_nodes,
        memory_per_node_gib=cluster.node.memory_gib,
        partition=cluster.partition,
        qos=cluster.qos,
        account=account,
        time=site.time,
        exit_minutes=exit_minutes,
    )


def cost(work: Workload, site: Site, spread: Spread) -> Cost:
    """What the run costs: FLOPs, hours, jobs, GPU-hours, the site's billing units, bytes."""
    training = work.training
    parameters = work.model.parameters
    gpus_per_node = site.use.gpus_per_node
    billed_gpus_per_node = gpus_per_node
    if site.partition is not None and site.partition.exclusive:
        # Slurm gives whole nodes there, and the site bills them whole.
        billed_gpus_per_node = site.node_gpus
    billing_unit = None
    billing_units = None
    if site.cluster.billing is not None:
        billed_gpu_hours = spread.hours * spread.nodes * billed_gpus_per_node
        billing_unit = site.cluster.billing.unit
        billing_units = billed_gpu_hours * site.cluster.billing.units_per_gpu_hour
    jobs = 1
    if site.time is not None:
        jobs = math.ceil(spread.hours / site.job_hours)
    checkpoint_bytes = sizing.checkpoint_bytes(parameters, spread.layout.bf16)
    checkpoints = math.ceil(training.steps / training.save_interval)
    memory = sizing.training_memory(spread.model, spread.layout, training.sequence_length)
    return Cost(
        flops_6nd=sizing.flops_6nd(parameters, training.tokens),
        flops_exact=sizing.flops_exact(spread.model, training.tokens, training.sequence_length),
        hours=spread.hours,
        jobs=jobs,
        gpu_hours=spread.hours * spread.nodes * gpus_per_node,
        billing_unit=billing_unit,
        billing_units=billing_units,
        checkpoint_bytes=checkpoint_bytes,
        checkpoints_kept_bytes=checkpoint_bytes * checkpoints,
        memory_per_device_bytes=memory.total,
        memory_fits=spread.fits,
    )
