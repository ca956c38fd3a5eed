"""Model shapes and parameter labels are the paper's.

data/presets.csv: the paper's shapes with their parameter counts, by the source's own arithmetic.
"""

import csv
import re
from pathlib import Path

import pytest
from encore.errors import RegistryError
from encore.model.config import ModelConfig, padded_vocabulary
from encore.plan import run_name
from encore.registry.folder import FOLDER
from encore.registry.models import ModelShape, load_models
from encore.registry.tokenizers import load_tokenizers

DATA = Path(__file__).parents[1] / "data"
SEQUENCE = 2048


def presets() -> list[dict[str, str]]:
    with open(DATA / "presets.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def count(shape: ModelShape, vocabulary: int, positions: int) -> int:
    sizes = (shape.layers, shape.d_model, shape.heads, shape.kv_size, shape.ffw_size)
    return ModelConfig(*sizes, positions, vocabulary).parameters


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset["preset"])
def test_a_shape_is_the_papers(preset: dict[str, str]) -> None:
    shape = load_models().shapes[preset["preset"].removeprefix("PARAM_")]
    stated = [int(preset[key]) for key in ("n_layers", "d_model", "ffw_size", "kv_size", "n_heads")]
    assert [shape.layers, shape.d_model, shape.ffw_size, shape.kv_size, shape.heads] == stated
    assert count(shape, 50_257, SEQUENCE) == int(preset["params_gpt2_v50257"])
    assert count(shape, 50_304, SEQUENCE) == int(preset["params_gpt2_v50304"])


def test_six_shapes_have_an_attention_of_another_size() -> None:
    shapes = load_models().shapes.values()
    names = [shape.name for shape in shapes if shape.heads * shape.kv_size != shape.d_model]
    assert names == ["20M", "35M", "11452M", "12569M", "13735M", "14940M"]
    text = (FOLDER / "models.yml").read_text()
    for name in names:
        assert re.search(rf"^  {name}: .*# [0-9]+ ≠ [0-9]+$", text, re.MULTILINE)


def test_54_shapes_and_22_labels_are_the_papers() -> None:
    models = load_models()
    paper = {name for name, shape in models.shapes.items() if shape.regime == "paper"}
    in_presets = {preset["preset"].removeprefix("PARAM_") for preset in presets()}
    assert len(in_presets) == 54
    assert paper - in_presets == {"3090M"}
    assert len([label for label in models.labels.values() if label.shape in paper]) == 22


def test_a_label_names_the_shape_nearest_to_its_count_or_says_why_not() -> None:
    models = load_models()
    counts = {}
    for name, shape in models.shapes.items():
        if shape.regime == "paper":
            counts[name] = count(shape, 50_304, SEQUENCE)
    for label in models.labels.values():
        if label.shape not in counts:
            continue
        off = abs(label.parameters / counts[label.shape] - 1)
        assert off < 0.001 or label.note, f"{label.name} is {off:.2%} off and says nothing"
        nearest = min(counts, key=lambda name: abs(counts[name] - label.parameters))
        assert nearest == label.shape or label.name == "44m"


def test_laptop_labels_say_what_their_shapes_count() -> None:
    models = load_models()
    vocabulary = padded_vocabulary(load_tokenizers()["demo"].vocabulary, 1)
    labels = models.labels.values()
    laptop = [label for label in labels if models.shapes[label.shape].regime == "laptop"]
    assert [label.name for label in laptop] == ["500k", "1m", "2m5", "5m"]
    for label in laptop:
        shape = models.shapes[label.shape]
        assert label.parameters == count(shape, vocabulary, 256)
        assert abs(label.parameters / run_name.amount(label.name) - 1) < 0.05
        assert shape.heads * shape.kv_size == shape.d_model and shape.ffw_size == 4 * shape.d_model


def test_a_label_without_its_shape_is_refused(tmp_path: Path) -> None:
    text = (FOLDER / "models.yml").read_text().replace("{shape: 140M,", "{shape: 141M,")
    (tmp_path / "models.yml").write_text(text)
    with pytest.raises(RegistryError, match="label 146m names the unknown shape '141M'"):
        load_models(tmp_path)
