"""Data-path files are read as Megatron-DeepSpeed reads them; errors say what to write instead."""

import csv
from pathlib import Path

import pytest
from encore.errors import DataError
from encore.tokens.data_paths import Group, WeightedPrefix, parse, read, render
from hypothesis import given
from hypothesis import strategies as st

TINY = Path(__file__).resolve().parents[1] / "data/megatron_tiny"
PUBLISHED = Path(__file__).parents[1] / "data" / "datapaths.csv"

words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Z", "C"), exclude_characters='":,/'),
    min_size=1,
)
fractions = st.floats(0, 1)
parts = st.builds(
    lambda weight, ends, prefix: WeightedPrefix(weight, min(ends), max(ends), prefix),
    st.floats(0, 1e6, exclude_min=True),
    st.tuples(fractions, fractions).filter(lambda ends: ends[0] != ends[1]),
    words.map("/data/{}".format),
)
groups = st.lists(
    st.builds(Group, words, st.lists(parts, min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=4,
    unique_by=lambda group: group.name,
).map(tuple)


@given(groups)
def test_what_is_written_is_read_back(written):
    assert parse(render(written), "file") == written


def test_a_line_is_written_as_the_published_ones_are():
    mix = Group(
        "train",
        (WeightedPrefix(0.9, 0, 1, "/data/c4"), WeightedPrefix(0.1, 0.95, 1.0, "/data/python")),
    )
    assert render([mix]) == '"train: 0.9 0:1 /data/c4, 0.1 0.95:1 /data/python"\n'


def test_blanks_within_a_group_do_not_matter():
    text = '"train:0.1\t 0:1 /a/x ,0.9 0.95:1  /b/y" "v: 1 0:1 /c:d"\n'
    assert parse(text, "file") == (
        Group("train", (WeightedPrefix(0.1, 0, 1, "/a/x"), WeightedPrefix(0.9, 0.95, 1, "/b/y"))),
        Group("v", (WeightedPrefix(1, 0, 1, "/c:d"),)),
    )


@pytest.mark.parametrize("run", ["tp1", "tp2"])
def test_files_that_megatron_ran_with_are_read(run):
    prefix = "data/tiny_text_document"
    assert read(TINY / run / "train_paths.txt", one_group=True) == (
        Group("train", (WeightedPrefix(1, 0, 0.9, prefix),)),
    )
    assert read(TINY / run / "valid_paths.txt") == (
        Group("valid", (WeightedPrefix(1, 0.9, 1, prefix),)),
    )


def test_every_published_group_survives_a_round_trip():
    with open(PUBLISHED, newline="") as handle:
        for row in csv.DictReader(handle):
            prefix = f"/{row['path_dir']}/{row['path_basename']}"
            text = f'"{row["split"]}: {row["weight"]} {row["range"]} {prefix}"\n'
            assert render(parse(text, row["file"])) == text


HOSTILE = {
    '"train: 1.0 0:1 /a"': "newline",
    "": "newline",
    '"train: 1.0 0:1 /a"\n"valid: 1.0 0:1 /b"\n': "exactly one line",
    '"train: 1.0 0:1 /a"\n\n': "exactly one line",
    "\n": "double quote",
    '"\n': "double quote",
    "train: 1.0 0:1 /a\n": "double quote",
    ' "train: 1.0 0:1 /a"\n': "double quote",
    '"train: 1.0 0:1 /a" \n': "double quote",
    '"train: 1.0 0:1 /a"  "valid: 1.0 0:1 /b"\n': "one blank between groups",
    '"train: 1.0 0:1 /a","valid: 1.0 0:1 /b"\n': "one blank between groups",
    '""\n': "a name and a colon",
    '"/a"\n': "a name and a colon",
    '": 1.0 0:1 /a"\n': "a name and a colon",
    '" train: 1.0 0:1 /a"\n': "a name and a colon",
    '"a/b: 1.0 0:1 /a"\n': "a name and a colon",
    '"train:"\n': "WEIGHT START:END PREFIX",
    '"train: /a"\n': 'write "train: 1.0 0:1 /a"',
    '"train: 1.0 /a"\n': "WEIGHT START:END PREFIX",
    '"train: 1.0 0:1 /my data/a"\n': "WEIGHT START:END PREFIX",
    '"train: 1.0 0:1 /a,"\n': "WEIGHT START:END PREFIX",
    '"train: x 0:1 /a"\n': "'x'",
    '"train: -1 0:1 /a"\n': "'-1'",
    '"train: nan 0:1 /a"\n': "'nan'",
    '"train: inf 0:1 /a"\n': "'inf'",
    '"train: 0 0:1 /a, 0.0 0:1 /b"\n': "all zero",
    '"train: 1.0 1 /a"\n': "'1'",
    '"train: 1.0 0:1:2 /a"\n': "'0:1:2'",
    '"train: 1.0 0.5:0.5 /a"\n': "'0.5:0.5'",
    '"train: 1.0 1:0 /a"\n': "'1:0'",
    '"train: 1.0 0:2 /a"\n': "'0:2'",
    '"train: 1.0 -1:1 /a"\n': "'-1:1'",
    '"train: 1.0 0:nan /a"\n': "'0:nan'",
    '"a: 1.0 0:1 /a" "a: 1.0 0:1 /b"\n': "named 'a'",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_malformed_file_is_named_with_what_to_write(text, tmp_path):
    path = tmp_path / "train_paths.txt"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert HOSTILE[text] in f"{caught.value} {caught.value.hint}"


def test_training_reads_one_group(tmp_path):
    path = tmp_path / "paths.txt"
    path.write_text('"a: 1.0 0:1 /a" "b: 1.0 0:1 /b"\n')
    assert len(read(path)) == 2
    with pytest.raises(DataError, match=r"paths.txt holds 2 groups \(a, b\)"):
        read(path, one_group=True)


def test_a_file_that_cannot_be_read_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b'"tr\xe9in: 1.0 0:1 /a"\n')
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "latin.txt")
    with pytest.raises(DataError, match="is a folder, not a file"):
        read(tmp_path)


@pytest.mark.parametrize("prefix", ["/my data/a", "/a,b", '/a"b', "", "/a\nb"])
def test_a_prefix_that_the_format_cannot_hold_is_refused(prefix):
    with pytest.raises(DataError):
        render([Group("train", (WeightedPrefix(1, 0, 1, prefix),))])


@pytest.mark.parametrize(
    "unwritable", [(), (Group("a:b", (WeightedPrefix(1, 0, 1, "/a"),)),), (Group("a", ()),)]
)
def test_groups_that_the_format_cannot_hold_are_refused(unwritable):
    with pytest.raises(DataError):
        render(unwritable)
