"""Environment variables of profiles and images have values that their documentation knows."""

import re
from pathlib import Path

import pytest
from encore.errors import RegistryError
from encore.registry import clusters, strict_yaml
from encore.registry.folder import FOLDER
from encore.registry.images import load_images
from encore.registry.variables import Variable, load_variables

PLACES = {name: clusters.load_cluster(name).environment for name in clusters.cluster_names()}
PLACES |= {name: image.environment for name, image in load_images().items()}


@pytest.mark.parametrize("place", PLACES)
def test_a_number_or_a_mode_has_documented_values(place: str) -> None:
    for variable in PLACES[place]:
        if re.fullmatch(r"[0-9]+|[a-z0-9]+", variable.value):
            # an interface's name is the site's
            assert variable.name in load_variables() or variable.name.endswith("_IFNAME")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NCCL_IB_TIMEOUT", "120"),
        ("NCCL_IB_TIMEOUT", "-1"),
        ("NCCL_IB_TIMEOUT", ""),
        ("NCCL_IB_RETRY_CNT", "8"),
        ("NCCL_CROSS_NIC", "3"),
        ("FI_MR_CACHE_MONITOR", "memhooks"),
        ("FI_CXI_RX_MATCH_MODE", "Hybrid"),
        ("HSA_FORCE_FINE_GRAIN_PCIE", "true"),
        ("CUDA_DEVICE_MAX_CONNECTIONS", "0"),
        ("FI_CXI_DEFAULT_CQ_SIZE", "0"),
    ],
)
def test_a_value_outside_the_documented_ones_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{name}={value} is out of range"):
        Variable(name, value, "here")


def test_a_profile_with_such_a_value_is_refused_with_file_and_line(tmp_path: Path) -> None:
    text = (FOLDER / "clusters" / "leonardo.yml").read_text(encoding="utf-8")
    profile = tmp_path / "mine.yml"
    profile.write_text(re.sub(r'(NCCL_IB_TIMEOUT, value: )"22"', r'\1"120"', text))
    line = 1 + profile.read_text().splitlines().index(
        next(line for line in profile.read_text().splitlines() if '"120"' in line)
    )
    with pytest.raises(RegistryError, match=rf"mine.yml:{line}: .*NCCL_IB_TIMEOUT=120.*0 to 31"):
        strict_yaml.load(profile, clusters.Cluster)


@pytest.mark.parametrize(
    ("name", "value"), [("a b", "1"), ("X", "$(ls)"), ("X", "`id`"), ("X", 'a"b'), ("X", "a\nb")]
)
def test_a_variable_that_could_run_something_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"not the name|character"):
        Variable(name, value, "here")
