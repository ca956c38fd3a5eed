"""Plans: what the paper ran, what follows from the registry, what is refused."""

import math

import pytest
from encore.errors import EncoreError, UnknownNameError, UsageError
from encore.plan import resolve, settings
from encore.plan.records import Plan, Request
from encore.plan.run_name import Choice
from encore.plan.user_config import UserConfig
from encore.registry.paper_runs import load_runs
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

RUNS = sorted(load_runs())


def plan(
    name: str,
    cluster: str = "lumi",
    *overrides: str,
    config: UserConfig | None = None,
    **request: object,
) -> Plan:
    asked = Request(
        name, cluster, account="project_1", settings=settings.parse(overrides), **request
    )  # type: ignore[arg-type]
    return resolve.resolve(asked, config or UserConfig())


def test_the_name_that_the_readme_begins_with() -> None:
    found = plan("146m14b400m")
    assert (found.parameters, found.tokens, found.unique_tokens) == (
        146_525_952,
        14 * 10**9,
        4 * 10**8,
    )
    assert (
        found.training.global_batch_size,
        found.training.train_samples,
        found.training.steps,
    ) == (
        256,
        6835938,
        26702,
    )
    assert found.epochs == 35


@pytest.mark.parametrize(
    ("name", "batch", "samples", "steps"),
    [
        ("2b855b11bc4", 512, 26_855_469, 52_452),
        ("4b284b84bc4v2seed1", 512, 41_015_625, 80_108),
        ("8b7178b25b", 1024, 86_914_062, 84_877),
    ],
)
def test_batch_samples_and_steps_are_those_of_the_released_families(
    name: str, batch: int, samples: int, steps: int
) -> None:
    training = plan(name).training
    assert (training.global_batch_size, training.train_samples, training.steps) == (
        batch,
        samples,
        steps,
    )


@pytest.mark.parametrize("name", ["146M14B400M", "lm1-146m14b400m", "LM1-146m-14b-400m"])
def test_a_plan_has_the_kits_name_of_a_run_that_is_named_as_on_the_hub(name: str) -> None:
    found = plan(name)
    assert found.name == "146m14b400m" and found.training == plan("146m14b400m").training
    assert found.paths == plan("146m14b400m").paths


def test_as_released_repeats_what_ran_and_the_plan_tells_the_difference() -> None:
    named, released = plan("146m14b400m"), plan("146m14b400m", as_released=True)
    assert (released.training.steps, released.training.global_batch_size) == (21553, 256)
    assert released.tokens == 21553 * 256 * 2048
    assert any("global_step21553" in warning and "11.3B" in warning for warning in named.warnings)
    assert not any("global_step" in warning for warning in released.warnings)


def test_as_released_needs_to_know_what_ran() -> None:
    with pytest.raises(UsageError, match="not known"):
        plan("1b5100m100m", choice=Choice("1b5", "100m", "100m"), as_released=True)


def test_an_optimal_allocation_run_has_its_own_shape_and_tokens() -> None:
    found = plan("8b7178b25bopt")
    assert (found.shape.name, found.tokens) == ("6796M", 241_480_525_824)


@pytest.mark.parametrize("name", RUNS[::7])
@pytest.mark.parametrize("cluster", ["lumi", "leonardo"])
def test_every_known_run_has_a_consistent_plan(name: str, cluster: str) -> None:
    found = plan(name, cluster)
    training, layout = found.training, found.layout
    assert layout.tensor_parallel * layout.pipeline_parallel * layout.data_parallel == found.gpus
    assert training.global_batch_size % (layout.micro_batch_size * layout.data_parallel) == 0
    assert 0 <= found.tokens - training.tokens <= training.global_batch_size * 2048 + 2048
    assert found.cost.gpu_hours == pytest.approx(found.cost.hours * found.gpus)
    assert found.job.exit_minutes is not None
    assert found.cost.jobs == math.ceil(found.cost.hours * 60 / found.job.exit_minutes)
    assert found.cost.memory_fits


def test_exit_comes_before_the_limit_by_start_up_and_save() -> None:
    found = plan("146m14b400m", time="10:00:00")
    margins = found.cluster.margins
    assert found.job.exit_minutes == (10 * 3600 - margins.startup_s - margins.save_s) // 60


@pytest.mark.parametrize("time", ["60", "60:00", "1:00:00", "0-1", "0-01:00"])
def test_every_way_to_write_an_hour_asks_slurm_for_the_same(time: str) -> None:
    found = plan("146m14b400m", time=time)
    assert found.job.time == "01:00:00"
    assert f"--time {time}" in found.command


def test_lumi_bills_half_a_gpu_hour_per_die_hour_and_whole_nodes_where_they_are_exclusive() -> None:
    whole, part = plan("7m100m100m"), plan("7m100m100m", "lumi", "gpus_per_node=2")
    assert whole.cost.billing_units == pytest.approx(whole.cost.gpu_hours / 2)
    assert part.cost.billing_units == pytest.approx(part.cost.hours * 8 / 2)


def test_core_masks_only_on_full_nodes() -> None:
    assert len(plan("7m100m100m").cluster.launch.cpu_bind_masks) == 8
    assert plan("7m100m100m", "lumi", "gpus_per_node=4").cluster.launch.cpu_bind_masks == ()
    assert plan("7m100m100m", "lumi", "launch=torchrun").cluster.launch.cpu_bind_masks == ()


@pytest.mark.parametrize(("launch", "cpus_per_task"), [("torchrun", 32), ("tasks", 8)])
def test_gpus_and_cores_set_together_describe_a_node_where_the_profile_guesses(
    launch: str, cpus_per_task: int
) -> None:
    settings = ("gpus_per_node=4", "cores_per_node=32", f"launch={launch}")
    job = plan("146m14b400m", "cuda", *settings, nodes=1).job
    assert (job.gpus_per_node, job.cpus_per_task, job.whole_nodes) == (4, cpus_per_task, True)


@pytest.mark.parametrize(("launch", "cpus_per_task"), [("torchrun", 20), ("tasks", 5)])
def test_cores_that_are_set_are_those_of_the_gpus_in_use(launch: str, cpus_per_task: int) -> None:
    settings = ("gpus_per_node=4", "cores_per_node=20", f"launch={launch}")
    job = plan("7m100m100m", "lumi", *settings, nodes=1).job
    assert (job.cpus_per_task, job.whole_nodes) == (cpus_per_task, False)


@pytest.mark.parametrize(("launch", "cpus_per_task"), [("torchrun", 32), ("tasks", 8)])
def test_gpus_set_alone_are_a_part_of_a_node(launch: str, cpus_per_task: int) -> None:
    settings = ("gpus_per_node=4", f"launch={launch}")
    job = plan("146m14b400m", "cuda", *settings, nodes=1).job
    assert (job.cpus_per_task, job.whole_nodes) == (cpus_per_task, False)


def test_a_quality_of_service_has_limits_of_its_own() -> None:
    long = plan("146m14b400m", "leonardo", "qos=boost_qos_lprod", time="4-00", nodes=8)
    assert (long.job.qos, long.job.time) == ("boost_qos_lprod", "4-00:00:00")
    assert plan("146m14b400m", "leonardo").job.qos is None
    assert plan("146m14b400m", "leonardo", "qos=boost_qos_dbg").job.time == "00:30:00"
    big = plan("8b7178b25b", "leonardo", "qos=boost_qos_bprod")
    assert 65 <= big.job.nodes <= 256


def test_a_refused_time_or_number_of_nodes_names_the_qos_that_allows_it() -> None:
    for request, qos in (
        ({"time": "2-00"}, "boost_qos_lprod"),
        ({"nodes": 128}, "boost_qos_bprod"),
    ):
        with pytest.raises(UsageError) as raised:
            plan("146m14b400m", "leonardo", **request)
        assert f"--set qos={qos}" in raised.value.hint
    with pytest.raises(UsageError, match="cannot be had on qos boost_qos_lprod"):
        plan("146m14b400m", "leonardo", "qos=boost_qos_lprod", nodes=16)


def test_network_plugin_is_demanded_on_several_nodes_only() -> None:
    def names(nodes: int) -> set[str]:
        return {variable.name for variable in plan("146m14b400m", nodes=nodes).environment}

    assert "NCCL_NET" in names(2)
    assert "NCCL_NET" not in names(1)
    mandatory = {
        "HSA_FORCE_FINE_GRAIN_PCIE",
        "FI_MR_CACHE_MONITOR",
        "FI_CXI_DISABLE_HOST_REGISTER",
        "FI_CXI_RX_MATCH_MODE",
    }
    assert mandatory <= names(2)
    assert not mandatory & names(1)
    assert "NCCL_CROSS_NIC" not in names(2)
    assert "NCCL_NET_GDR_LEVEL" not in names(2)


def test_data_lines_of_a_code_mix_carry_weights_a_range_and_two_validation_sets() -> None:
    found = plan("4b284b84b90c4py", config=UserConfig(workspace="/w"))
    assert found.data_paths == {
        "train84b90c4py.txt": '"train:'
        " 0.9 0:1 /w/data/c4_subsampled/gpt2tok_c4_en_84B_text_document,"
        ' 0.1 0:1 /w/data/python/gpt2tok_python_84B_content_document"\n',
        "valc4py.txt": '"validation:'
        ' 1.0 0:1 /w/data/c4_validation/gpt2tok_c4validation_rerun_text_document"'
        ' "validation_python: 1.0 0.95:1 /w/data/python/gpt2tok_python_content_document"\n',
    }


def test_nodes_are_not_doubled_past_what_the_batch_can_be_spread_over() -> None:
    # 72 samples are 9 for each of 8 devices, but not as many for each of 16
    overrides = ("global_batch_size=72", "tensor_parallel=1", "mfu=0.001")
    found = plan("146m14b400m", "lumi", *overrides)
    assert found.job.nodes == 1 and found.cost.jobs > 1


def test_seeds_of_names_and_overrides() -> None:
    assert plan("2b855b11bc4").optimizer.seed == 1234
    assert plan("2b855b11bc4seed3").optimizer.seed == 3
    assert plan("2b855b11bc4seed3", "lumi", "seed=7").optimizer.seed == 7


def test_every_training_default_can_be_overridden() -> None:
    found = plan(
        "146m14b400m",
        "lumi",
        "lr=1.0e-3",
        "min_lr=0",
        "dropout=0",
        "warmup_fraction=0",
        "train_samples=2048",
    )
    training = found.training
    assert (
        found.optimizer.lr,
        found.optimizer.min_lr,
        found.optimizer.dropout,
        training.warmup_samples,
    ) == (
        1e-3,
        0,
        0,
        0,
    )
    assert (training.steps, found.tokens) == (8, 2048 * 2048)


def test_the_workspace_follows_option_configuration_and_profile() -> None:
    assert plan("146m14b400m").paths.workspace == "/scratch/project_1/encore"
    assert plan("146m14b400m", config=UserConfig(workspace="/a")).paths.workspace == "/a"
    assert (
        plan("146m14b400m", config=UserConfig(workspace="/a"), workspace="/b").paths.workspace
        == "/b"
    )


def test_a_missing_account_is_warned_of() -> None:
    found = resolve.resolve(Request("146m14b400m", "lumi"), UserConfig())
    assert any("no account" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("arguments", "overrides", "error"),
    [
        ({"cluster": "lumi", "time": "3-00:00:00"}, (), "more than partition"),
        ({"cluster": "lumi", "time": "00:20:00"}, (), "leaves no time"),
        ({"cluster": "lumi", "time": "30"}, (), "leaves no time"),
        ({"cluster": "lumi", "time": "soon"}, (), "not a time"),
        ({"cluster": "lumi", "nodes": 0}, (), "cannot be had"),
        ({"cluster": "lumi", "nodes": 5}, ("partition=small-g",), "cannot be had"),
        ({"cluster": "lumi", "nodes": 3}, (), "do not divide"),
        ({"cluster": "lumi"}, ("gpus_per_node=16",), "more than a node"),
        ({"cluster": "lumi"}, ("min_lr=1",), "above lr"),
        ({"cluster": "lumi"}, ("train_samples=255",), "do not fill one batch"),
        ({"cluster": "lumi", "trainer": "bigscience", "objective": "ul2"}, (), "no ul2 objective"),
        ({"cluster": "cuda", "workspace": "/a b"}, (), "cannot be used in a job script"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: dict[str, object], overrides: tuple[str, ...], error: str
) -> None:
    with pytest.raises(UsageError, match=error) as raised:
        plan("146m14b400m", arguments.pop("cluster"), *overrides, **arguments)  # type: ignore[arg-type]
    assert raised.value.hint


@pytest.mark.parametrize("override", ["partition=fast", "accelerator=b200", "image=mine"])
def test_unknown_names_list_the_valid_ones(override: str) -> None:
    with pytest.raises(UnknownNameError):
        plan("146m14b400m", "lumi", override)


def test_a_trainer_without_ranges_or_several_validation_sets_refuses_a_code_mix() -> None:
    with pytest.raises(UsageError, match="cannot read a range"):
        plan("4b284b84b90c4py", "cuda", trainer="deepspeedai")
    with pytest.raises(UsageError, match="one validation set"):
        plan("2b855b11boscar", "cuda", trainer="deepspeedai")


@examples(40)
@given(st.text(max_size=30), st.sampled_from(["lumi", "cuda", "local"]))
def test_any_text_is_planned_or_refused_never_a_traceback(name: str, cluster: str) -> None:
    try:
        resolve.resolve(Request(name, cluster), UserConfig())
    except EncoreError as error:
        assert "\n" not in str(error)
