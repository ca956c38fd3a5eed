"""Where a run goes and what it takes there: nodes, layout, job limits, hours, memory, billing."""

import dataclasses
import math
from typing import NamedTuple

from encore.errors import UnknownNameError, UsageError
from encore.model.config import ModelConfig, padded_vocabulary
from encore.plan import layout, sizing
from encore.plan.records import Cost, JobResources, Training
from encore.plan.settings import Settings, choose
from encore.registry import clusters
from encore.registry.accelerators import Accelerator, load_accelerators
from encore.registry.regimes import RegimeBatch

_MOST_NODES = 64  # what a plan asks for by itself; --nodes goes further


class Site(NamedTuple):
    """A cluster as the user wants it used: overrides applied; `node_gpus` is what a whole node has."""

    cluster: clusters.Cluster
    accelerator: Accelerator
    node_gpus: int
    time: str | None

    @property
    def partition(self) -> clusters.Partition | None:
        """The limits of the partition that jobs go to, where they are known."""
        return (self.cluster.partitions or {}).get(self.cluster.partition or "")

    @property
    def whole_nodes(self) -> bool:
        """Whether every GPU of a node is asked for."""
        return self.cluster.node.gpus == self.node_gpus

    @property
    def job_hours(self) -> float:
        """Hours that one job trains: its limit less start-up and save."""
        margins = self.cluster.margins
        return (
            math.inf
            if self.time is None
            else (clusters.seconds(self.time) - margins.startup_s - margins.save_s) / 3600
        )

    @property
    def device_flops(self) -> float:
        """FLOP/s that a device is expected to sustain."""
        speed, peak = self.cluster.speed, self.accelerator.peak_bf16_flops
        if speed.sustained_flops is not None:
            return speed.sustained_flops
        if peak is None or speed.mfu is None:
            raise UsageError(
                f"the peak of {self.accelerator.name} is not known", "choose --set accelerator=NAME"
            )
        return peak * speed.mfu


class Workload(NamedTuple):
    """What is to be placed: a model (its vocabulary not yet padded for tensor parallelism) and how it is trained."""

    model: ModelConfig
    vocabulary: int
    training: Training
    batch: RegimeBatch
    settings: Settings


class Spread(NamedTuple):
    """A model on a number of nodes: its layout there, whether it fits, how long the run takes."""

    nodes: int
    model: ModelConfig
    layout: sizing.Layout
    fits: bool
    hours: float


def site(name: str, settings: Settings, time: str | None) -> Site:
    """The cluster `name` with the user's overrides; raises UsageError for a time or partition that cannot be."""
    cluster = clusters.load_cluster(name)
    accelerator_name = choose(settings.accelerator, cluster.accelerator)
    if accelerator_name not in load_accelerators():
        raise UnknownNameError("accelerator", accelerator_name, load_accelerators())
    partition = choose(settings.partition, cluster.partition)
    if partition and cluster.partitions and partition not in cluster.partitions:
        raise UnknownNameError(f"partition of {name}", partition, cluster.partitions)
    if partition and not partition.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"{partition!r} is not a partition", "use letters, digits, - and _")
    node = cluster.node
    gpus, cores = (
        choose(settings.gpus_per_node, node.gpus),
        choose(settings.cores_per_node, node.cores),
    )
    if cluster.partitions and gpus > node.gpus:
        raise UsageError(f"{gpus} GPUs are more than a node of {name} has", f"at most {node.gpus}")
    memory = None if node.memory_gib is None else node.memory_gib * gpus // node.gpus
    speed = cluster.speed
    if settings.mfu is not None:
        speed = dataclasses.replace(speed, mfu=settings.mfu, sustained_flops=None)
    adjusted = dataclasses.replace(
        cluster,
        partition=partition,
        speed=speed,
        accelerator=accelerator_name,
        launch=_launch(cluster, settings, gpus, cores),
        node=dataclasses.replace(node, gpus=gpus, cores=cores, memory_gib=memory),
    )
    found = Site(adjusted, load_accelerators()[accelerator_name], node.gpus, None)
    return found._replace(time=_time(found, time))


def _launch(
    cluster: clusters.Cluster, settings: Settings, gpus: int, cores: int
) -> clusters.Launch:
    launch, whole_nodes = cluster.launch, gpus == cluster.node.gpus
    if cluster.scheduler == "none":
        # one process needs no launcher, several need torchrun
        return dataclasses.replace(launch, mode="single" if gpus == 1 else "torchrun")
    mode = choose(settings.launch, launch.mode)
    if mode == "torchrun":
        share = cores if whole_nodes else max(1, cores * gpus // cluster.node.gpus)
        return dataclasses.replace(launch, mode=mode, cpus_per_task=share, cpu_bind_masks=())
    # core masks name the cores of a whole node: on a part of one they bind to somebody else's
    masks = launch.cpu_bind_masks if whole_nodes else ()
    return dataclasses.replace(
        launch, mode=mode, cpus_per_task=max(1, cores // cluster.node.gpus), cpu_bind_masks=masks
    )


def _time(where: Site, requested: str | None) -> str | None:
    time = choose(requested, where.cluster.time)
    if time is None:
        return None
    try:
        wanted = clusters.seconds(time)
    except ValueError as error:
        raise UsageError(str(error), "for example --time 1-12:00:00") from None
    partition = where.partition
    if partition and wanted > clusters.seconds(partition.max_time):
        if requested:
            raise UsageError(
                f"--time {time} is more than partition {where.cluster.partition} allows",
                f"at most {partition.max_time}",
            )
        time = partition.max_time
    margins = where.cluster.margins
    if clusters.seconds(time) < margins.startup_s + margins.save_s + 60:
        least = (margins.startup_s + margins.save_s) // 60 + 1
        raise UsageError(
            f"--time {time} leaves no time to train between start-up and save",
            f"give at least {least} minutes",
        )
    return time


def spread(work: Workload, where: Site, nodes: int | None) -> Spread:
    """The workload on `nodes`; None: on the fewest that end within one job, as far as its batch can be spread."""
    limit = where.partition.max_nodes if where.partition else None
    if nodes is not None:
        if nodes < 1 or nodes > (limit or nodes):
            raise UsageError(
                f"--nodes {nodes} cannot be had on {where.cluster.partition or 'this cluster'}",
                f"1 to {limit or 'any'}",
            )
        return _spread_on(nodes, work, where)
    most_gpus = work.training.global_batch_size // work.batch.least_sequences_per_gpu
    most_nodes = (
        1
        if where.time is None
        else min(limit or _MOST_NODES, _MOST_NODES, most_gpus // where.cluster.node.gpus)
    )
    chosen = _spread_on(1, work, where)
    while chosen.nodes * 2 <= most_nodes and not (chosen.fits and chosen.hours <= where.job_hours):
        chosen = _spread_on(chosen.nodes * 2, work, where)
    return chosen


def _spread_on(nodes: int, work: Workload, where: Site) -> Spread:
    def at_degree(tensor_parallel: int) -> ModelConfig:
        padded = padded_vocabulary(work.vocabulary, tensor_parallel=tensor_parallel)
        return dataclasses.replace(work.model, padded_vocab_size=padded)

    # bf16 on a CPU is several times slower than fp32
    precision = choose(
        work.settings.precision, "fp32" if where.accelerator.vendor == "cpu" else "bf16"
    )
    devices = layout.Devices(
        count=nodes * where.cluster.node.gpus,
        per_node=where.cluster.node.gpus,
        memory_gib=where.accelerator.memory_gib,
        bf16=precision == "bf16",
        largest_micro_batch=work.batch.largest_micro_batch,
    )
    training = work.training
    spread_layout, fits = layout.choose_layout(
        at_degree, devices, training.global_batch_size, training.sequence_length, work.settings
    )
    model = at_degree(spread_layout.tensor_parallel)
    flops = sizing.flops_exact(model, training.tokens, training.sequence_length)
    return Spread(
        nodes, model, spread_layout, fits, flops / (devices.count * where.device_flops) / 3600
    )


def job(where: Site, nodes: int, account: str | None) -> JobResources:
    """What one job asks Slurm for."""
    cluster, hours = where.cluster, where.job_hours
    return JobResources(
        nodes=nodes,
        gpus_per_node=cluster.node.gpus,
        tasks_per_node=cluster.node.gpus if cluster.launch.mode == "tasks" else 1,
        cpus_per_task=cluster.launch.cpus_per_task,
        launch=cluster.launch.mode,
        whole_nodes=where.whole_nodes,
        memory_per_node_gib=cluster.node.memory_gib,
        partition=cluster.partition,
        account=account,
        time=where.time,
        exit_minutes=None if math.isinf(hours) else int(hours * 60),
    )


def cost(work: Workload, where: Site, on: Spread) -> Cost:
    """What the run takes: FLOPs, hours, jobs, GPU-hours, the site's billing units, bytes."""
    training, cluster = work.training, where.cluster
    parameters = work.model.parameters
    gpu_hours = on.hours * on.nodes * cluster.node.gpus
    billing = cluster.billing
    # where nodes are given whole, a part of one is billed as the whole
    billed_gpus = (
        where.node_gpus if where.partition and where.partition.exclusive else cluster.node.gpus
    )
    billed_hours = on.hours * on.nodes * billed_gpus
    checkpoint = sizing.checkpoint_bytes(parameters, on.layout.bf16)
    return Cost(
        flops_6nd=sizing.flops_6nd(parameters, training.tokens),
        flops_exact=sizing.flops_exact(on.model, training.tokens, training.sequence_length),
        hours=on.hours,
        jobs=1 if math.isinf(where.job_hours) else math.ceil(on.hours / where.job_hours),
        gpu_hours=gpu_hours,
        billing_unit=billing.unit if billing else None,
        billing_units=billed_hours * billing.units_per_gpu_hour if billing else None,
        checkpoint_bytes=checkpoint,
        checkpoints_kept_bytes=checkpoint * math.ceil(training.steps / training.save_interval),
        memory_per_device_bytes=sizing.training_memory(
            on.model, on.layout, training.sequence_length
        ).total,
        memory_fits=on.fits,
    )
