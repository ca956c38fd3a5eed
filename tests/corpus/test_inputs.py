"""Names of inputs: datasets are told from paths, without asking the Hub."""

from pathlib import Path

import pytest
from encore.corpus.inputs import DatasetName, parse_dataset


@pytest.mark.parametrize(
    ("text", "dataset"),
    [
        ("allenai/c4", DatasetName("allenai/c4", None)),
        ("allenai/c4:en.noblocklist", DatasetName("allenai/c4", "en.noblocklist")),
        ("imdb", DatasetName("imdb", None)),
        ("c4.jsonl", None),
        ("data/c4.jsonl.zst", None),
        ("/no/such/path", None),
        ("a/b/c", None),
        ("what is this", None),
    ],
)
def test_a_dataset_is_told_from_a_path_by_its_form(text: str, dataset: DatasetName | None) -> None:
    assert parse_dataset(text) == dataset


def test_an_existing_folder_is_never_a_dataset_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "allenai" / "c4").mkdir(parents=True)
    assert parse_dataset("allenai/c4") is None
    assert parse_dataset("allenai/c4:en") == DatasetName("allenai/c4", "en")


def test_a_dataset_reads_as_the_user_wrote_it() -> None:
    for text in ("allenai/c4", "allenai/c4:en"):
        assert str(parse_dataset(text)) == text
