"""Names of parts as GNU split gives them, and manifests that others may have written."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from encore.errors import DataError
from encore.tokens import part_manifest
from encore.tokens.part_manifest import BinPart


def gnu_split(folder: Path, size: int, *options: str) -> list[str]:
    """The names of the parts that `split` makes of `size` bytes, in the order it writes them."""
    (folder / "whole").write_bytes(bytes(i % 251 for i in range(size)))
    command = ["split", "--verbose", *options, "whole", "x.bin."]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    (folder / "whole").unlink()
    return [line.split()[-1].strip("'’") for line in said.splitlines()]


@pytest.mark.parametrize("count", [1, 26, 27, 676, 677])
def test_our_names_are_those_of_split(tmp_path: Path, count: int) -> None:
    assert part_manifest.names(tmp_path / "x", count) == gnu_split(
        tmp_path, count, f"--number={count}"
    )


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (40, ["--number=l/40"]),
        (676, ["--number=676"]),
        (1000, ["--number=1000"]),
        (650, ["--bytes=1"]),
        (651, ["--bytes=1"]),
        (900, ["--bytes=1"]),
        (91, ["--bytes=1", "-d"]),
        (1100, ["--bytes=1", "-d"]),
        (5, ["--bytes=1", "-a", "1"]),
        (30, ["--bytes=1", "-a", "4"]),
        (100, ["--number=100", "-d"]),
        (256, ["--number=256", "-x"]),
        (40, ["--bytes=1", "-x"]),
        (260, ["--bytes=1", "--hex-suffixes"]),
        (13, ["--bytes=1", "--numeric-suffixes=1"]),
        (100, ["--bytes=1", "--numeric-suffixes=9", "-a", "3"]),
        (99, ["--bytes=1", "--hex-suffixes=9"]),
        (5, ["--bytes=1", "-d", "-a", "1"]),
        (30, ["--bytes=1", "-x", "-a", "5"]),
        (9, ["--number=9", "--numeric-suffixes=1"]),
    ],
)
def test_whatever_split_made_is_found_in_its_order(
    tmp_path: Path, size: int, options: list[str]
) -> None:
    made = gnu_split(tmp_path, size, *options)
    for name in ("x.bin.aa.tmp", "x.bin.AB", "x.bin.backup", "x.bin", "other.bin.aa", "x.idx"):
        (tmp_path / name).write_bytes(b"")
    assert [part.name for part in part_manifest.find(tmp_path / "x")] == made


def test_growth_past_its_second_step_is_in_the_order_of_split() -> None:
    names = part_manifest._growing("01")
    assert [next(names) for _ in range(8)] == [
        "00",
        "01",
        "1000",
        "1001",
        "1010",
        "1011",
        "110000",
        "110001",
    ]


@pytest.mark.parametrize("missing", ["aa", "ab", "bc"])
def test_a_gap_is_named(tmp_path: Path, missing: str) -> None:
    gnu_split(tmp_path, 40, "--number=40")
    (tmp_path / f"x.bin.{missing}").unlink()
    with pytest.raises(DataError, match=rf"x\.bin\.{missing} does not exist"):
        part_manifest.find(tmp_path / "x")


def test_a_gap_across_the_growth_of_the_suffix_is_found(tmp_path: Path) -> None:
    gnu_split(tmp_path, 700, "--bytes=1")
    (tmp_path / "x.bin.yz").unlink()
    with pytest.raises(DataError, match=r"x\.bin\.yz does not exist, x\.bin\.zaaa does"):
        part_manifest.find(tmp_path / "x")


@pytest.mark.parametrize(("kind", "first"), [("numeric", "1"), ("hex", "10")])
def test_numbers_from_elsewhere_need_the_index_to_be_complete(
    tmp_path: Path, kind: str, first: str
) -> None:
    # split 9.1 itself loses bytes where the first number has a letter
    made = gnu_split(tmp_path, 40, "--bytes=1", f"--{kind}-suffixes={first}")
    with pytest.raises(DataError, match=rf"numbered from {first.zfill(2)} on, and nothing says"):
        part_manifest.find(tmp_path / "x")
    (tmp_path / "x.idx").touch()
    assert [part.name for part in part_manifest.find(tmp_path / "x")] == made
    (tmp_path / made[20]).unlink()
    with pytest.raises(DataError, match=rf"{made[20]} does not exist"):
        part_manifest.find(tmp_path / "x")


@pytest.mark.parametrize(
    ("options", "prefix"),
    [
        (["--additional-suffix=.part"], "x.bin."),
        (["-d", "--additional-suffix=.gz"], "x.bin."),
        ([], "x.bin"),
        (["-d"], "x.bin-"),
    ],
)
def test_names_that_are_nearly_those_of_parts_are_named(
    tmp_path: Path, options: list[str], prefix: str
) -> None:
    (tmp_path / "whole").write_bytes(b"123")
    subprocess.run(["split", "-b1", *options, "whole", prefix], cwd=tmp_path, check=True)
    first = min(path.name for path in tmp_path.glob("x.bin*"))
    with pytest.raises(DataError, match=f"x.bin.aa does not exist; {first} does, which is not a"):
        part_manifest.find(tmp_path / "x")


def test_a_neighbour_that_is_no_part_is_named(tmp_path: Path) -> None:
    gnu_split(tmp_path, 3, "--bytes=1")
    (tmp_path / "x.bin.gz").touch()
    with pytest.raises(DataError, match=r"x\.bin\.ad does not exist, x\.bin\.gz does") as error:
        part_manifest.find(tmp_path / "x")
    assert "if x.bin.gz is no part, move it" in error.value.hint


def test_a_part_that_is_no_file_or_a_pointer_is_named(tmp_path: Path) -> None:
    gnu_split(tmp_path, 3, "--bytes=1")
    (tmp_path / "x.bin.ab").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match=r"x\.bin\.ab is a git-lfs pointer"):
        part_manifest.find(tmp_path / "x")
    (tmp_path / "x.bin.ab").unlink()
    os.mkfifo(tmp_path / "x.bin.ab")
    with pytest.raises(DataError, match=r"x\.bin\.ab is a pipe, not a file"):
        part_manifest.find(tmp_path / "x")


def test_two_sets_of_parts_are_not_mixed(tmp_path: Path) -> None:
    for name in ("x.bin.aa", "x.bin.ab", "x.bin.00"):
        (tmp_path / name).write_bytes(b"1")
    with pytest.raises(DataError, match=r"two sets of parts, from x\.bin\.00 and x\.bin\.aa"):
        part_manifest.find(tmp_path / "x")


def test_no_parts_are_an_error(tmp_path: Path) -> None:
    for prefix in (tmp_path / "x", tmp_path / "absent" / "x"):
        with pytest.raises(DataError, match=r"x\.bin\.aa does not exist"):
            part_manifest.find(prefix)


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    parts = [BinPart("x.bin.aa", 4, "0" * 32), BinPart("x.bin.ab", 0, "f" * 32)]
    part_manifest.write_manifest(tmp_path / "x", parts)
    assert part_manifest.read_manifest(tmp_path / "x") == parts
    assert part_manifest.read_manifest(tmp_path / "y") is None


GOOD = {"name": "x.bin.aa", "bytes": 4, "xxh3_128": "0" * 32}


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [GOOD, GOOD],
        [GOOD | {"name": "../x.bin.aa"}],
        [GOOD | {"name": "/etc/passwd"}],
        [GOOD | {"name": "y.bin.aa"}],
        [GOOD | {"name": "x.bin.aa\n"}],
        [GOOD | {"name": "x.bin"}],
        [GOOD | {"name": 1}],
        [GOOD | {"bytes": -1}],
        [GOOD | {"bytes": 4.0}],
        [GOOD | {"bytes": True}],
        [GOOD | {"xxh3_128": "0" * 31}],
        [GOOD | {"xxh3_128": 7}],
        [{"name": "x.bin.aa"}],
        ["x.bin.aa"],
        "x.bin.aa",
        None,
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(tmp_path: Path, parts: object) -> None:
    (tmp_path / "x.parts.json").write_text(json.dumps({"parts": parts}))
    with pytest.raises(DataError, match=r"x\.parts\.json is not a list of parts"):
        part_manifest.read_manifest(tmp_path / "x")
    (tmp_path / "journal").write_text(json.dumps({"parts": parts, "done": 1}))
    assert part_manifest.read_journal(tmp_path / "journal", tmp_path / "x") == ([], 0)


def test_a_folder_in_the_place_of_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parts.json").mkdir()
    with pytest.raises(DataError, match=r"x\.parts\.json is a folder, not a file"):
        part_manifest.read_manifest(tmp_path / "x")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '"', "\xff", "[" * 200_000], ids=lambda text: repr(text[:9])
)
def test_a_manifest_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.parts.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"x\.parts\.json is not a list of parts"):
        part_manifest.read_manifest(tmp_path / "x")
