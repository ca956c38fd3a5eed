"""The registry's facts: complete, consistent with each other, and equal to what their sources state.

data/presets.csv: the paper's shapes with their parameter counts, by the source's own arithmetic.
"""

import csv
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
from encore.errors import RegistryError
from encore.model.config import ModelConfig, padded_vocabulary
from encore.plan import run_name
from encore.registry import models as registry
from encore.registry.accelerators import load_accelerators
from encore.registry.corpora import load_corpora
from encore.registry.folder import FOLDER
from encore.registry.paper_runs import load_released_steps, load_runs
from encore.registry.tokenizers import load_tokenizers
from encore.registry.trainers import Trainer, load_trainers

DATA = Path(__file__).parents[1] / "data"
SEQUENCE = 2048
ACCESSORS = [
    registry.load_models,
    load_accelerators,
    load_tokenizers,
    load_trainers,
    load_corpora,
    load_runs,
    load_released_steps,
]


def presets() -> list[dict[str, str]]:
    with open(DATA / "presets.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def count(shape: registry.ModelShape, vocabulary: int, positions: int) -> int:
    sizes = (shape.layers, shape.d_model, shape.heads, shape.kv_size, shape.ffw_size)
    return ModelConfig(*sizes, positions, vocabulary).parameters


def records(value: Any) -> Iterator[Any]:
    """Every record in `value`, however deep."""
    if is_dataclass(value):
        yield value
        value = [getattr(value, field.name) for field in fields(value)]
    for item in (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list | tuple)
        else ()
    ):
        yield from records(item)


@pytest.mark.parametrize("accessor", ACCESSORS)
def test_every_stated_source_says_something(accessor: Any) -> None:
    blocks = [record for record in records(accessor()) if hasattr(record, "checked")]
    for block in blocks:
        assert len(block.source) >= 10 and block.checked >= datetime.date(2026, 1, 1)
    assert blocks or accessor in (load_runs, load_released_steps)


def test_a_name_is_lowercase_with_hyphens_and_is_its_key() -> None:
    for facts in (
        load_accelerators(),
        load_tokenizers(),
        load_trainers(),
        load_corpora(),
    ):
        for name, record in facts.items():
            assert record.name == name and re.fullmatch(r"[a-z0-9-]+", name)


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset["preset"])
def test_a_shape_is_the_papers(preset: dict[str, str]) -> None:
    shape = registry.load_models().shapes[preset["preset"].removeprefix("PARAM_")]
    stated = [int(preset[key]) for key in ("n_layers", "d_model", "ffw_size", "kv_size", "n_heads")]
    assert [shape.layers, shape.d_model, shape.ffw_size, shape.kv_size, shape.heads] == stated
    assert count(shape, 50_257, SEQUENCE) == int(preset["params_gpt2_v50257"])
    assert count(shape, 50_304, SEQUENCE) == int(preset["params_gpt2_v50304"])


def test_six_shapes_have_an_attention_of_another_size() -> None:
    differing = [
        s.name for s in registry.load_models().shapes.values() if s.heads * s.kv_size != s.d_model
    ]
    assert differing == ["20M", "35M", "11452M", "12569M", "13735M", "14940M"]
    text = (FOLDER / "models.yml").read_text()
    for name in differing:
        assert re.search(rf"^  {name}: .*# [0-9]+ ≠ [0-9]+$", text, re.MULTILINE)


def test_54_shapes_and_22_labels_are_the_papers() -> None:
    models = registry.load_models()
    assert len(presets()) == 54
    extra = {name for name, s in models.shapes.items() if s.regime == "paper"} - {
        preset["preset"].removeprefix("PARAM_") for preset in presets()
    }
    assert extra == {"3090M"}
    assert (
        sum(models.shapes[label.shape].regime == "paper" for label in models.labels.values()) == 22
    )


def test_a_label_names_the_shape_nearest_to_its_count_or_says_why_not() -> None:
    models = registry.load_models()
    paper = {
        name: count(shape, 50_304, SEQUENCE)
        for name, shape in models.shapes.items()
        if shape.regime == "paper"
    }
    for label in models.labels.values():
        if label.shape not in paper:
            continue
        off = abs(label.parameters / paper[label.shape] - 1)
        assert off < 0.001 or label.note, f"{label.name} is {off:.2%} off and says nothing"
        nearest = min(paper, key=lambda name: abs(paper[name] - label.parameters))
        assert nearest == label.shape or label.name == "44m"


def test_laptop_labels_say_what_their_shapes_count() -> None:
    models = registry.load_models()
    vocabulary = load_tokenizers()["demo"].vocabulary
    laptop = [
        label for label in models.labels.values() if models.shapes[label.shape].regime == "laptop"
    ]
    assert [label.name for label in laptop] == ["500k", "1m", "2m5", "5m"]
    for label in laptop:
        shape = models.shapes[label.shape]
        assert label.parameters == count(shape, padded_vocabulary(vocabulary), 256)
        assert abs(label.parameters / run_name.amount(label.name) - 1) < 0.05
        assert shape.heads * shape.kv_size == shape.d_model and shape.ffw_size == 4 * shape.d_model


def test_a_label_without_its_shape_is_refused(tmp_path: Path) -> None:
    text = (FOLDER / "models.yml").read_text().replace("{shape: 140M,", "{shape: 141M,")
    (tmp_path / "models.yml").write_text(text)
    with pytest.raises(RegistryError, match="label 146m names the unknown shape '141M'"):
        registry.load_models(tmp_path)


def test_accelerators_are_those_that_people_have() -> None:
    found = load_accelerators()
    assert {"mi250x-gcd", "a100-40gb", "a100-80gb", "h100", "h200", "gh200", "cpu"} <= set(found)
    for accelerator in found.values():
        if accelerator.vendor == "cpu":
            assert accelerator.peak_bf16_flops is None and accelerator.memory_gib is None
        else:
            assert 1e14 < accelerator.peak_bf16_flops < 1e16 and 39 < accelerator.memory_gib < 300
    assert found["mi250x-gcd"].peak_bf16_flops == 383e12 / 2


def test_hashes_and_commits_are_whole() -> None:
    for tokenizer in load_tokenizers().values():
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in tokenizer.files.values())
    for trainer in load_trainers().values():
        for pin in trainer.commits.values():
            assert pin.commit is None or re.fullmatch(r"[0-9a-f]{40}", pin.commit)
    assert load_tokenizers()["gpt2"].vocabulary == 50_257


@pytest.mark.parametrize("trainer", load_trainers().values(), ids=lambda trainer: trainer.name)
def test_the_arguments_that_set_a_trainer_apart_are_its_own(trainer: Trainer) -> None:
    for pin in trainer.commits.values():
        if pin.commit is None:  # the built-in trainer: its own parser is their home
            continue
        assert all(argument.startswith("--") for argument in pin.with_value | pin.without_value)
        assert not pin.with_value & pin.without_value
        assert {trainer.stop_file_argument, trainer.exit_duration_argument} <= pin.with_value
        assert (
            trainer.exit_signal_argument is None
            or trainer.exit_signal_argument in pin.without_value
        )
        assert ("--train-weighted-split-paths-path" in pin.with_value) == (
            trainer.data == "weighted-split-paths"
        )
        assert {word for word in pin.adds.split() if word.startswith("--")} <= pin.with_value
        assert trainer.ranges or not pin.ignores_ranges
    assert (trainer.exit_signal is None) == (trainer.exit_signal_argument is None)


def test_turkunlp_is_pinned_per_objective() -> None:
    pins = load_trainers()["turkunlp"].commits
    assert (pins["causal"].commit or "")[:7] == "6732bc9" and pins[
        "causal"
    ].entry == "pretrain_gpt.py"
    assert (pins["ul2"].commit or "")[:7] == "a1088c1" and pins["ul2"].entry == "pretrain_ul2.py"
    assert pins["ul2"].ignores_ranges and pins["ul2"].warning


def test_corpora_hold_what_is_needed_to_read_them() -> None:
    corpora = load_corpora()
    assert {"c4", "oscar", "python", "roots", "pile", "pydocs"} == set(corpora)
    for corpus in corpora.values():
        for files in (corpus.files, *corpus.variants.values()):
            assert files.subset or files.whole
            assert files.subset is None or files.subset.count("{subset}") == 1
            for prefix in filter(None, (files.subset, files.whole)):
                assert re.fullmatch(r"[a-z0-9_]+/[A-Za-z0-9_{}]+_document", prefix)
        for measured in corpus.validated_on or (corpus.name,):
            assert corpora[measured].validation is not None


def test_corpora_know_their_size() -> None:
    c4, oscar = load_corpora()["c4"], load_corpora()["oscar"]
    assert (c4.tokens_per_sample, oscar.tokens_per_sample) == (478.625834583, 1312.0951072)
    assert c4.tokens == 174_635_677_947 and oscar.tokens is None
    # the paper's example: samples that hold 1.9 billion tokens
    assert (
        round(1.9e9 / c4.tokens_per_sample) == 3_969_698
        and round(1.9e9 / oscar.tokens_per_sample) == 1_448_066
    )


def test_runs_are_the_papers() -> None:
    runs = load_runs()
    assert len(runs) == 317 and sum(run.in_fit for run in runs.values()) == 182
    assert all(run.loss is not None for run in runs.values() if run.in_fit)
    assert [run.name for run in runs.values() if run.loss is None] == [
        run.name for run in runs.values() if run.note == "unfinished"
    ]
    assert runs["146m14b400m"].loss == 3.390927


def test_what_ran_agrees_with_the_steps_released() -> None:
    released = [*load_runs().values(), *load_released_steps().values()]
    for run in released:
        assert run.shape is None or run.shape in registry.load_models().shapes
        if run.train_samples and run.global_step and run.global_batch_size:
            assert run.global_step == run.train_samples // run.global_batch_size
        if run.train_samples and run.tokens:
            assert abs(run.tokens - run.train_samples * SEQUENCE) < SEQUENCE
    stated = load_runs()["146m14b400m"]
    assert (stated.global_step, stated.global_batch_size) == (21_553, 256)
    assert load_released_steps()["4b284b21boscarseed2"].global_step == 80_108
    assert not load_runs().keys() & load_released_steps().keys()


def test_a_known_runs_shape_counts_its_parameters() -> None:
    for run in load_runs().values():
        if run.shape:
            assert (
                count(registry.load_models().shapes[run.shape], 50_304, SEQUENCE) == run.parameters
            )


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


def test_no_private_path_is_in_the_registry() -> None:
    for path in FOLDER.rglob("*.*"):
        assert not re.search(r"/scratch/project_|/home/|/users/", path.read_text()), path


def test_importing_the_registry_loads_nothing_heavy() -> None:
    code = (
        "import sys; from encore.registry.trainers import load_trainers; load_trainers();"
        " print(sorted({'torch', 'numpy', 'jinja2', 'transformers', 'datasets', 'deepspeed'} & set(sys.modules)))"
    )
    tools = Path(registry.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tools, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
