"""Cluster profiles load, refer to what exists, and are consistent in themselves."""

import pytest
from encore.errors import UnknownNameError
from encore.registry import clusters
from encore.registry.accelerators import load_accelerators
from encore.registry.images import load_images
from encore.registry.trainers import load_trainers
from hypothesis import given
from hypothesis import strategies as st

CLUSTERS = clusters.cluster_names()


def test_the_named_clusters_are_there() -> None:
    assert {"lumi", "cuda", "cuda-pyxis", "leonardo", "local"} <= set(CLUSTERS)


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_refers_to_what_exists(name: str) -> None:
    cluster = clusters.load_cluster(name)
    assert cluster.accelerator in load_accelerators()
    assert cluster.trainer in load_trainers()
    assert cluster.image is None or cluster.image in load_images()


@pytest.mark.parametrize("name", CLUSTERS)
def test_masks_name_as_many_cores_as_a_task_gets_and_none_twice(name: str) -> None:
    cluster = clusters.load_cluster(name)
    masks = [int(mask, 16) for mask in cluster.launch.cpu_bind_masks]
    if masks:
        assert len(masks) == cluster.node.gpus
        assert {mask.bit_count() for mask in masks} == {cluster.launch.cpus_per_task}
        assert sum(masks).bit_count() == cluster.node.cores


def test_an_unknown_cluster_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as raised:
        clusters.load_cluster("lumo")
    assert "lumi" in raised.value.hint


@given(st.integers(0, 6), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_durations_count_seconds(days: int, hours: int, minutes: int, secs: int) -> None:
    text = f"{days}-{hours:02}:{minutes:02}:{secs:02}"
    assert clusters.seconds(text) == ((days * 24 + hours) * 60 + minutes) * 60 + secs


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30 * 60),
        ("30:00", 30 * 60),
        ("30:15", 30 * 60 + 15),
        ("1:2:3", 3723),
        ("48:00:00", 2 * 86400),
        ("1-12", 36 * 3600),
        ("2-00:30", 2 * 86400 + 30 * 60),
        ("2-00:30:05", 2 * 86400 + 30 * 60 + 5),
        ("0", 0),
    ],
)
def test_each_of_slurms_forms_is_a_duration(text: str, seconds: int) -> None:
    assert clusters.seconds(text) == seconds


@given(st.integers(0, 10**6))
def test_a_duration_as_text_is_read_back(seconds: int) -> None:
    assert clusters.seconds(clusters.duration(seconds)) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "1:",
        "1-",
        "-1",
        "1-2-3",
        "1:2:3:4",
        "1 day",
        "01:00:00; ls",
        "٣٠",
        "1.5",
        "9" * 400,
    ],
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="D-HH:MM:SS"):
        clusters.seconds(text)
