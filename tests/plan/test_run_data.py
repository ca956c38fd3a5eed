"""Data-path lines: each of the paper's 87 data-path files is derived from the corpora, not stored.

data/datapaths.csv: the files of datablations' utils/datapaths, one row per dataset of a group.
"""

import csv
import re
from collections import defaultdict
from pathlib import Path

import pytest
from encore.errors import DataError, UnknownNameError, UsageError
from encore.plan import run_data, run_name
from encore.plan.run_data import DataSpec, Group, WeightedPrefix
from encore.registry.corpora import load_corpora
from encore.tokens import data_paths
from hypothesis import given
from hypothesis import strategies as st

_FILES = Path(__file__).parents[1] / "data" / "datapaths.csv"
_NAME = re.compile(
    r"train(?P<tokens>[0-9]+[mb][0-9]*?)?(?:(?P<share>[0-9]{2})(?=c4py))?(?P<corpus>c4|oscar)?(?P<py>py)?"
    r"(?P<variant>[a-z]+.*)?"
)


def published() -> dict[str, list[Group]]:
    """File name → its groups."""
    groups: dict[str, dict[str, list[WeightedPrefix]]] = defaultdict(lambda: defaultdict(list))
    with open(_FILES, newline="") as stream:
        for row in csv.DictReader(stream):
            start, end = row["range"].split(":")
            prefix = f"{row['path_dir']}/{row['path_basename']}"
            groups[row["file"]][row["split"]].append(
                WeightedPrefix(float(row["weight"]), float(start), float(end), prefix)
            )
    return {
        file: [Group(name, tuple(parts)) for name, parts in by_name.items()]
        for file, by_name in groups.items()
    }


PUBLISHED = published()
VALIDATION = {
    "val.txt": DataSpec("c4"),
    "valc4oscar.txt": DataSpec("oscar"),
    "valc4py.txt": DataSpec("c4", mix=("python", 10)),
}


def spec_of(file: str) -> DataSpec:
    """What a training file's name says: train84b10c4py.txt is 84B of 10% C4, the rest Python."""
    match = _NAME.fullmatch(Path(file).stem)
    assert match, file
    tokens = run_name.amount(match["tokens"]) if match["tokens"] else None
    mix = ("python", 100 - int(match["share"])) if match["py"] else None
    return DataSpec(match["corpus"] or "c4", tokens, match["variant"] or None, mix)


def test_all_87_files_are_here() -> None:
    assert (
        len(PUBLISHED) == 87
        and sum(len(g.parts) for groups in PUBLISHED.values() for g in groups) == 98
    )


@pytest.mark.parametrize("file", [file for file in PUBLISHED if file.startswith("train")])
def test_a_training_file_is_derived(file: str) -> None:
    assert [run_data.train_group(spec_of(file), load_corpora())] == PUBLISHED[file]


@pytest.mark.parametrize("file", VALIDATION)
def test_a_validation_file_is_derived(file: str) -> None:
    assert list(run_data.valid_groups(VALIDATION[file], load_corpora())) == PUBLISHED[file]


def test_no_file_is_left_out() -> None:
    assert set(PUBLISHED) == {file for file in PUBLISHED if file.startswith("train")} | set(
        VALIDATION
    )


@pytest.mark.parametrize("file", [file for file in PUBLISHED if file != "trainc4nodups.txt"])
def test_the_files_bear_their_published_names(file: str) -> None:
    spec = VALIDATION.get(file) or spec_of(file)
    assert file in run_data.file_names(spec, load_corpora())


def test_lines_are_the_published_ones_to_the_byte() -> None:
    folder = "/scratch/project_462000119/data"
    mixed = run_data.train_group(spec_of("train84b10c4py.txt"), load_corpora())
    assert run_data.line([mixed], folder) == (
        f'"train: 0.1 0:1 {folder}/c4_subsampled/gpt2tok_c4_en_84B_text_document,'
        f' 0.9 0:1 {folder}/python/gpt2tok_python_84B_content_document"\n'
    )
    assert run_data.line(run_data.valid_groups(DataSpec("oscar"), load_corpora()), folder) == (
        f'"validation_c4: 1.0 0:1 {folder}/c4_validation/gpt2tok_c4validation_rerun_text_document"'
        ' "validation_oscar:'
        f' 1.0 0:1 {folder}/oscar_validation/gpt2tok_oscarvalidation_text_document"\n'
    )
    assert "1.0 0.95:1 " in run_data.line(
        run_data.valid_groups(VALIDATION["valc4py.txt"], load_corpora()), folder
    )


def test_more_than_a_corpus_holds_is_the_corpus() -> None:
    whole = load_corpora()["c4"].files.whole
    assert run_data.prefix(DataSpec("c4", 178_000_000_000), load_corpora()) == whole
    assert run_data.prefix(DataSpec("c4", 174_000_000_000), load_corpora()) == whole
    assert run_data.prefix(DataSpec("c4", 91_000_000_000), load_corpora()) != whole


def test_what_is_held_out_for_validation_is_not_trained_on() -> None:
    group = run_data.train_group(DataSpec("c4", mix=("python", 50)), load_corpora())
    assert [(part.start, part.end) for part in group.parts] == [(0.0, 1.0), (0.0, 0.95)]


def test_the_demo_corpus_has_its_own_validation_set() -> None:
    spec = DataSpec("pydocs", 100_000)
    assert (
        run_data.train_group(spec, load_corpora()).parts[0].prefix
        == "pydocs/pydocs_100K_text_document"
    )
    assert [group.name for group in run_data.valid_groups(spec, load_corpora())] == ["validation"]
    assert run_data.file_names(spec, load_corpora()) == ("train100kpydocs.txt", "valpydocs.txt")


@pytest.mark.parametrize(
    "spec", [DataSpec("c5"), DataSpec("c4", mix=("perl", 10)), DataSpec("c4", variant="dedupe")]
)
def test_an_unknown_corpus_or_variant_lists_the_valid_ones(spec: DataSpec) -> None:
    with pytest.raises(UnknownNameError) as caught:
        run_data.train_group(spec, load_corpora())
    assert "valid: " in caught.value.hint


@pytest.mark.parametrize("percent", [-5, 0, 100, 200])
def test_a_share_outside_1_to_99_percent_is_refused(percent: int) -> None:
    with pytest.raises(UsageError, match="cannot be mixed in"):
        run_data.train_group(DataSpec("c4", mix=("python", percent)), load_corpora())


@pytest.mark.parametrize("folder", ["/my data", '/a"b', "/a,b", "/a\nb"])
def test_a_folder_that_would_break_the_line_is_refused(folder: str) -> None:
    with pytest.raises(DataError):
        run_data.line([run_data.train_group(DataSpec("c4"), load_corpora())], folder)


numbers = st.integers(1, 100).map(lambda hundredths: hundredths / 100)
words = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
parts = st.builds(
    lambda weight, start, length, prefix: WeightedPrefix(
        weight, start, min(1.0, round(start + length, 4)), prefix
    ),
    numbers,
    st.integers(0, 99).map(lambda hundredths: hundredths / 100),
    numbers,
    words,
)
groups = st.builds(
    lambda name, parts: Group(name, tuple(parts)), words, st.lists(parts, min_size=1, max_size=4)
)


@given(st.lists(groups, min_size=1, max_size=3, unique_by=lambda group: group.name))
def test_the_trainer_reads_back_what_the_line_says(given_groups: list[Group]) -> None:
    read = data_paths.parse(run_data.line(given_groups, "/data"), "the line")
    assert [(group.name, len(group.parts)) for group in read] == [
        (g.name, len(g.parts)) for g in given_groups
    ]
    for part, expected in zip(
        (part for group in read for part in group.parts),
        (p for g in given_groups for p in g.parts),
        strict=True,
    ):
        assert (part.weight, part.start, part.end) == (
            expected.weight,
            expected.start,
            expected.end,
        )
        assert part.prefix == f"/data/{expected.prefix}"
