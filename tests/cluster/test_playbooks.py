"""The playbooks are well made, past what `make lint` sees: documented defaults, validation first,
the kit's names.
"""

import re

import pytest
import yaml
from encore.plan import run_paths
from helpers.local_machine import ROOT

PLAYBOOKS = ROOT / "playbooks"
ROLES = sorted(path.name for path in (PLAYBOOKS / "roles").iterdir())


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_of_a_role_are_its_documented_interface(role: str) -> None:
    lines = (
        (PLAYBOOKS / "roles" / role / "defaults" / "main.yml")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    variables = [i for i, line in enumerate(lines) if re.match(r"\w+:", line)]
    assert variables and all(lines[i].startswith(f"{role}_") for i in variables)
    for i in variables:
        # a comment stands above the variable, or above the group that it belongs to
        above = next(line for line in reversed(lines[:i]) if line.startswith("#") or not line)
        assert above.startswith("# "), lines[i]


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"machine_packages"}))
def test_a_role_validates_first(role: str) -> None:
    first = yaml.safe_load(
        (PLAYBOOKS / "roles" / role / "tasks" / "main.yml").read_text(encoding="utf-8")
    )[0]
    assert first["ansible.builtin.import_tasks"] == "validate.yml"


def test_the_kinds_of_folders_are_those_of_the_kit() -> None:
    variables = yaml.safe_load((PLAYBOOKS / "roles/site/vars/main.yml").read_text(encoding="utf-8"))
    assert tuple(variables["site_kinds"]) == run_paths.FOLDER_KINDS
