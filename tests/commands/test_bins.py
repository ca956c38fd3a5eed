"""The command as users type it: what it writes, says and refuses."""

import argparse
import json
import os
import shutil
from pathlib import Path

import bins
import pytest
from encore import human
from encore.errors import DataError, UsageError
from helpers.commands import run_command

DATA = Path(__file__).parents[1] / "data"
GENUINE = DATA / "megatron_tool" / "gpt2_text_document"
GPT2 = str(DATA / "gpt2")


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    for suffix in (".bin", ".idx"):
        shutil.copy(f"{GENUINE}{suffix}", tmp_path / f"x{suffix}")
    return str(tmp_path / "x")


def test_split_verify_cat(prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(f"{prefix}.bin").read_bytes()
    assert bins.main(["split", prefix, "--size", "10KiB", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == f"{prefix}.bin: 6 parts, listed in {prefix}.parts.json\n"
    assert [part["bytes"] for part in json.loads(said.out)] == [10240] * 5 + [8546]
    Path(f"{prefix}.bin").unlink()
    assert bins.main(["verify", prefix, "--tokenizer", GPT2]) == 0
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()] == [
        ["✓", what] for what in ("index", "bytes", "parts", "ids")
    ]
    assert bins.main(["cat", f"{prefix}.bin", "--remove-parts", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "path": f"{prefix}.bin",
        "bytes": 59746,
        "parts": 6,
        "checked": "hashes",
    }
    assert said.err == f"{prefix}.bin: 59,746 bytes of 6 parts\n"
    assert Path(f"{prefix}.bin").read_bytes() == before
    assert bins.main(["cat", prefix]) == 0
    assert "already joined" in capsys.readouterr().err


def test_what_could_not_be_checked_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.bin.aa").write_bytes(b"12")
    assert bins.main(["cat", str(tmp_path / "x")]) == 0
    assert "warning: it may be incomplete" in capsys.readouterr().err


def test_verify_fails_where_something_is_wrong(
    prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bins.main(["verify", prefix, "--vocabulary", "40k"]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "✗  ids    367 ids are not below 40,000; the first is 41,340, token 91 of all,"
        " in document 0",
        "          → verify with the tokenizer that the data was made with:"
        " --tokenizer NAME|FOLDER",
    ]
    assert bins.main(["verify", prefix, "--vocabulary", "40k", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert [list(finding) for finding in findings] == [["what", "right", "seen", "advice"]] * 3
    assert [finding["right"] for finding in findings] == [True, True, False]


def test_info_and_merge_describe_the_pair(prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bins.main(["info", prefix]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "documents          91",
        "sequences          91",
        "tokens             29,873",
        "empty documents    0",
        "dtype              uint16",
    ]
    assert bins.main(["merge", prefix, prefix, "--output-prefix", f"{prefix}2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 2 * 29_873


def test_peek_shows_text_or_ids(prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bins.main(["peek", prefix, "90", "--tokenizer", GPT2, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert bins.main(["peek", prefix, "90"]) == 0
    assert capsys.readouterr().out == " ".join(map(str, shown["ids"])) + "\n"
    assert bins.main(["peek", prefix, "90", "--tokenizer", GPT2]) == 0
    assert capsys.readouterr().out == shown["text"] + "\n"
    assert shown["text"].endswith("<|endoftext|>")


@pytest.mark.parametrize(
    "arguments",
    [["split", "x"], ["split", "x", "--parts", "2", "--size", "1"], ["cat"], ["sum", "x"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        bins.main(arguments)
    assert caught.value.code == 2


def test_errors_are_the_kits_own(prefix: str, tmp_path: Path) -> None:
    for arguments in (
        ["split", prefix, "--parts", "0"],
        ["split", prefix, "--size", "1"],
        ["peek", prefix, "91"],
    ):
        with pytest.raises(UsageError):
            bins.main(arguments)
    for command in (["info"], ["cat"], ["split", "--parts", "2"]):
        with pytest.raises(DataError, match="does not exist"):
            bins.main([command[0], str(tmp_path / "absent"), *command[1:]])


# a file name of Latin-1, as Python shows it
LATIN_1 = os.fsdecode(b"caf\xe9")


def test_names_that_are_not_utf8_work_from_text_to_merged_pairs(tmp_path: Path) -> None:
    name = tmp_path / LATIN_1
    name.mkdir()
    (name / f"{LATIN_1}.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    tokenize = ["tokenize", name, "--tokenizer", GPT2, "--output-prefix", f"{name}/x", "--json"]
    pair = f"{name}/x_text_document"
    steps = [
        ("prepare_corpus", tokenize),
        ("bins", ["verify", pair, "--json"]),
        ("bins", ["split", pair, "--parts", 2, "--json"]),
        ("bins", ["info", pair, "--json"]),
        ("bins", ["merge", pair, pair, "--output-prefix", f"{name}/{LATIN_1}", "--json"]),
    ]
    for command, arguments in steps:
        ended = run_command(command, *arguments)
        assert ended.returncode == 0, ended.stderr
        json.loads(ended.stdout)
    Path(f"{pair}.bin").unlink()
    merged = f"{name}/{LATIN_1}"
    for arguments in (
        ["verify", pair],
        ["cat", pair, "--remove-parts"],
        ["verify", pair],
        ["verify", merged],
    ):
        ended = run_command("bins", *arguments)
        assert ended.returncode == 0, ended.stderr + ended.stdout


def test_names_that_a_library_cannot_open_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    name = tmp_path / LATIN_1
    name.mkdir()
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    (name / "x.parquet").write_bytes(b"PAR1" * 9)
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(Path(GPT2) / file, name)
    for source, tokenizer in ((name / "x.parquet", GPT2), (tmp_path / "a.jsonl", name)):
        ended = run_command(
            *("prepare_corpus", "tokenize", tmp_path / "a.jsonl", source),
            *("--tokenizer", tokenizer, "--output-prefix", tmp_path / "out"),
        )
        assert ended.returncode == 1
        assert "is no UTF-8; rename the file or folder" in ended.stderr
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 << 30),
        ("1.5 MiB", 3 << 19),
        ("5GB", 5 * 10**9),
        ("700", 700),
        ("1_000B", 1000),
        ("2tib", 2 << 40),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert human.size(text) == size


@pytest.mark.parametrize("text", ["", "4G", "-1", "GiB", "1e9", "4 GiB!", "4iB", "four"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        human.size(text)
