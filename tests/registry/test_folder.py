"""The registry as a whole: every file has sources, loads from any folder, and is public."""

import datetime
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from encore import kit
from encore.errors import RegistryError
from encore.registry.accelerators import load_accelerators
from encore.registry.corpora import load_corpora
from encore.registry.folder import FOLDER
from encore.registry.images import load_images
from encore.registry.models import load_models
from encore.registry.paper_runs import load_released_steps, load_runs
from encore.registry.regimes import load_regimes
from encore.registry.tokenizers import load_tokenizers
from encore.registry.trainers import load_trainers

TABLES = [load_runs, load_released_steps]
ACCESSORS = [
    load_models,
    load_accelerators,
    load_tokenizers,
    load_trainers,
    load_corpora,
    load_images,
    load_regimes,
    *TABLES,
]
HEAVY = {"torch", "numpy", "jinja2", "transformers", "datasets", "deepspeed"}


def records(value: Any) -> Iterator[Any]:
    """Every record in `value`, however deep."""
    items: Any = ()
    if is_dataclass(value):
        yield value
        items = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list | tuple):
        items = value
    for item in items:
        yield from records(item)


@pytest.mark.parametrize("accessor", ACCESSORS)
def test_every_stated_source_says_something(accessor: Any) -> None:
    blocks = [record for record in records(accessor()) if hasattr(record, "checked")]
    for block in blocks:
        assert len(block.source) >= 10 and block.checked >= datetime.date(2026, 1, 1)
    assert blocks or accessor in TABLES


def test_a_name_is_lowercase_with_hyphens_and_is_its_key() -> None:
    for load in (load_accelerators, load_tokenizers, load_trainers, load_corpora):
        for name, record in load().items():
            assert record.name == name and re.fullmatch(r"[a-z0-9-]+", name)


@pytest.mark.parametrize("accessor", ACCESSORS)
def test_another_folder_is_read_and_its_faults_are_named(accessor: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    shutil.copytree(FOLDER, folder)
    assert accessor(folder) == accessor()
    broken = tmp_path / "broken"
    shutil.copytree(FOLDER, broken)
    for path in broken.rglob("*.*"):
        path.write_text(path.read_text() + "\n\tcolour: red\n")
    with pytest.raises(RegistryError, match=r"\.(yml|csv):[0-9]+: "):
        accessor(broken)


def test_large_numbers_are_written_readably() -> None:
    for path in FOLDER.rglob("*.yml"):
        plain = re.findall(r": [0-9]{7,}\b", path.read_text())
        assert not plain, f"{path}: write {plain[0]} with underscores"


def test_no_registry_file_holds_an_account_a_home_or_a_token() -> None:
    private = r"/scratch/project_|project_4\d+|/home/|/users/|hf_[A-Za-z0-9]{20}"
    for path in FOLDER.rglob("*.*"):
        assert not re.search(private, path.read_text()), path


def test_importing_the_registry_loads_nothing_heavy() -> None:
    code = (
        "import sys; from encore.registry.trainers import load_trainers; load_trainers();"
        f" print(sorted({HEAVY} & set(sys.modules)))"
    )
    output = subprocess.check_output(
        [sys.executable, "-c", code], cwd=kit.ROOT / "tools", text=True
    )
    assert output.strip() == "[]"
