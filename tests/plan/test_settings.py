"""--set: types, ranges, unknown keys, the way back to text, and what its help lists."""

import dataclasses
import json

import pytest
from encore.errors import UnknownNameError, UsageError
from encore.jobs import render
from encore.plan import report, resolve, settings, trainer_args
from encore.plan.overrides import Overrides, value_text
from encore.plan.records import Plan, Request
from encore.plan.user_config import UserConfig
from encore.registry import clusters
from encore.registry.paper_runs import load_runs
from encore.registry.regimes import Cadence, Optimizer, load_regimes
from encore.registry.setting import settings_of
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st


def request(name: str, cluster: str, *assignments: str, **options: object) -> Request:
    return Request(
        name,
        cluster,
        account="project_1",
        workspace="/w",
        settings=settings.parse(assignments),
        **options,  # type: ignore[arg-type]
    )


def plan(asked: Request) -> Plan:
    return resolve.resolve(asked, UserConfig())


def rows(asked: Request) -> dict[str, settings.SettingRow]:
    return {row.key: row for row in settings.rows(plan(asked), asked)}


def test_values_take_the_type_of_their_key() -> None:
    chosen = settings.parse(
        [
            "lr=1.0e-4",
            "global_batch_size=1_024",
            "large_scale=true",
            "partition=small-g",
            "dropout=0",
        ]
    )
    assert chosen.values == {
        "global_batch_size": 1024,
        "lr": 1e-4,
        "dropout": 0.0,
        "partition": "small-g",
        "large_scale": True,
    }


def test_zero_and_false_are_values_not_absence() -> None:
    chosen = settings.parse(["dropout=0", "activation_checkpointing=false"])
    assert chosen.get("dropout", 0.1) == 0
    assert chosen.get("activation_checkpointing", True) is False
    assert chosen.get("lr", 0.1) == 0.1


@pytest.mark.parametrize(
    "assignment",
    [
        "lr",
        "lr=",
        "lr=fast",
        "lr=-1",
        "lr=nan",
        "lr=inf",
        "lr=0",
        "dropout=1",
        "adam_beta2=1",
        "global_batch_size=1.5",
        "micro_batch_size=0",
        "precision=fp8",
        "large_scale=yes",
        "launch=mpi",
        "=1",
        "lr==1",
        "help",
    ],
)
def test_a_wrong_value_is_refused_with_a_next_step(assignment: str) -> None:
    with pytest.raises(UsageError) as raised:
        settings.parse([assignment])
    assert raised.value.hint


def test_an_unknown_key_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as raised:
        settings.parse(["global_batchsize=4"])
    assert "global_batch_size" in raised.value.hint


def test_a_key_may_stand_once() -> None:
    with pytest.raises(UsageError, match="twice"):
        settings.parse(["seed=1", "seed=2"])


@given(st.integers(1, 10**5), st.floats(1e-9, 1), st.booleans())
def test_overrides_round_trip_through_text(batch: int, lr: float, checkpointing: bool) -> None:
    chosen = Overrides(
        {"global_batch_size": batch, "lr": lr, "activation_checkpointing": checkpointing}
    )
    assert settings.parse(chosen.as_assignments()) == chosen


def test_the_keys_are_the_fields_of_the_records_and_each_has_one_home() -> None:
    names: list[str] = []
    for record in (settings.Training, Optimizer, Cadence, settings.Layout, settings.ClusterUse):
        names += settings_of(record)
    assert len(names) == len(set(names))
    assert set(names) == set(settings.KEYS)


@pytest.mark.parametrize("regime", sorted(load_regimes()))
def test_every_hyperparameter_of_training_yml_is_a_key_and_in_range(regime: str) -> None:
    for record in (load_regimes()[regime].optimizer, load_regimes()[regime].cadence):
        for field in dataclasses.fields(record):
            if field.name in ("source", "checked"):
                continue
            text = value_text(getattr(record, field.name))
            assert settings.parse([f"{field.name}={text}"]).values


RUNS = ["500k500k100k", *sorted(load_runs())[::97]]


@pytest.mark.parametrize("cluster", clusters.cluster_names())
def test_help_lists_every_key_with_the_plans_value(cluster: str) -> None:
    asked = request("500k500k100k", cluster, "gpus_per_node=1")
    resolved = plan(asked)
    listed = rows(asked)
    assert set(listed) == set(settings.KEYS)
    document = report.as_json(resolved)
    values = document["training"] | document["layout"] | document["job"]
    values |= {
        "accelerator": resolved.cluster.accelerator,
        "cores_per_node": resolved.cluster.node.cores,
        "image": document["image"],
        "mfu": resolved.cluster.speed.mfu,
        "large_scale": False,
    }
    for key, row in listed.items():
        assert row.value == values[key], key
        assert row.allowed and row.origin and row.description, key
    assert json.loads(json.dumps([dataclasses.asdict(row) for row in listed.values()]))
    table = settings.as_table(resolved, asked)
    assert len(table.splitlines()) == len(settings.KEYS) + 1


def test_help_tells_where_a_value_comes_from() -> None:
    listed = rows(request("2b855b11bc4seed3", "lumi", "lr=1.0e-4", as_released=False))
    assert listed["lr"].origin == "--set" and listed["lr"].value == 1e-4
    assert listed["min_lr"].origin == "registry/training.yml, regime paper"
    assert listed["seed"].origin == "the suffix of the run's name" and listed["seed"].value == 3
    assert listed["partition"].origin == "registry/clusters/lumi.yml"
    assert "standard-g" in listed["partition"].allowed
    assert listed["precision"].origin == "accelerator mi250x-gcd"
    assert listed["save_interval"].origin.startswith("derived")
    released = rows(request("146m14b400m", "lumi", as_released=True))
    assert released["train_samples"].origin == "--as-released"


def without_origin(script: str) -> list[str]:
    """The script's lines but for the one that tells the command it was made by."""
    return [line for line in script.splitlines() if not line.startswith("# Made by: ")]


@examples(150)
@given(
    st.sampled_from(RUNS),
    st.sampled_from(clusters.cluster_names()),
    st.sampled_from(sorted(settings.KEYS)),
)
def test_a_key_set_to_its_own_default_gives_the_same_script(
    name: str, cluster: str, key: str
) -> None:
    # the demo's batch of 2 is spread over two devices at most
    base = ["gpus_per_node=1"] if name == "500k500k100k" and key != "gpus_per_node" else []
    if name == "500k500k100k" and key == "gpus_per_node":
        cluster = "local"
    asked = request(name, cluster, *base)
    try:
        default = plan(asked)
    except UsageError:
        return
    value = rows(asked)[key].value
    # without known partitions, GPUs and cores together describe another node
    describes_node = key == "cores_per_node" and base and not default.cluster.partitions
    if value is None or describes_node:
        return
    again = plan(request(name, cluster, *base, f"{key}={value_text(value)}"))
    expected = without_origin(render.train_script(default, "/kit"))
    assert without_origin(render.train_script(again, "/kit")) == expected


# another value than the default's, in range
CHANGED = {"lr": 3e-4, "min_lr": 1e-6, "lr_decay_style": "linear", "seed": 7}


@pytest.mark.parametrize("key", [*settings_of(Optimizer), *settings_of(Cadence)])
def test_every_hyperparameter_reaches_the_trainer(key: str) -> None:
    default = request("146m14b400m", "lumi")
    value = rows(default)[key].value
    changed = CHANGED.get(key, value * 0.9 if isinstance(value, float) else 3)
    arguments = trainer_args.trainer_args(plan(request(default.name, "lumi", f"{key}={changed}")))
    assert arguments != trainer_args.trainer_args(plan(default))


@given(st.floats(1e-9, 1, exclude_max=True))
def test_the_trainer_gets_a_number_as_it_was_set(value: float) -> None:
    text = f"{value:.10g}"
    arguments = trainer_args.trainer_args(
        plan(request("146m14b400m", "lumi", f"weight_decay={text}"))
    )
    assert float(arguments[arguments.index("--weight-decay") + 1]) == float(text)
