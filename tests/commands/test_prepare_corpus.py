"""The command as users type it: what it writes, says and refuses."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import prepare_corpus
import pytest
from encore.corpus import documents
from encore.errors import UsageError
from encore.registry import corpora
from encore.tokens.indexed import IndexedDataset
from helpers.commands import run_command
from helpers.full_disk import full_disk

TESTS = Path(__file__).parents[1]
TOOL = TESTS.parent / "tools" / "prepare_corpus.py"
GPT2 = str(TESTS / "data" / "gpt2")
HOSTILE = TESTS / "data" / "megatron_tool" / "hostile.jsonl"


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_command("prepare_corpus", *arguments, cwd=cwd)


def run_alone(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: libraries decide at import that they are offline."""
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "no cache")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "corpus.jsonl"
    path.write_text("".join(json.dumps({"content": f"document {i}"}) + "\n" for i in range(100)))
    return path


def test_tokenize_writes_three_files_under_megatrons_names(tmp_path: Path) -> None:
    ended = run(
        *("tokenize", HOSTILE, "--tokenizer", GPT2, "--output-prefix", "out/gpt2tok_hostile"),
        *("--append-eod", "--on-error", "skip", "--workers", 2, "--json"),
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    names = {f"gpt2tok_hostile_text_document{suffix}" for suffix in (".bin", ".idx", ".json")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for suffix in (".bin", ".idx"):
        written = tmp_path / "out" / f"gpt2tok_hostile_text_document{suffix}"
        assert written.read_bytes() == HOSTILE.with_name(f"gpt2_text_document{suffix}").read_bytes()
    assert json.loads(ended.stdout)["documents"] == 91
    assert ended.stderr.splitlines() == [
        "out/gpt2tok_hostile_text_document: 91 documents, 29,873 tokens, uint16",
        "warning: left out 2: empty document",
    ]


def test_the_field_is_part_of_the_name(tmp_path: Path, corpus: Path) -> None:
    arguments = [
        "tokenize",
        str(corpus),
        "--tokenizer",
        GPT2,
        "--output-prefix",
        str(tmp_path / "x"),
    ]
    assert (
        prepare_corpus.main([*arguments, "--field", "content", "--tokens", "30", "--exact-tokens"])
        == 0
    )
    read = IndexedDataset(tmp_path / "x_content_document")
    assert len(read.tokens) == 30


@pytest.mark.parametrize(
    ("limit", "amount"),
    [("--samples", "7"), ("--bytes", "80"), ("--tokens", "70"), ("--tail", "3")],
)
def test_a_subset_is_what_tokenize_takes_with_the_same_limit(
    tmp_path: Path, corpus: Path, limit: str, amount: str, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--field", "content", "--tokenizer", GPT2, "--append-eod", "--json"]
    head = tmp_path / "head.jsonl"
    assert (
        prepare_corpus.main(["subset", str(corpus), limit, amount, "--output", str(head), *common])
        == 0
    )
    lines = corpus.read_bytes().splitlines(keepends=True)
    summary = json.loads(capsys.readouterr().out)
    assert summary == {"output": str(head), "documents": summary["documents"], "skipped": {}}
    count = summary["documents"]
    assert head.read_bytes() == b"".join(lines[-count:] if limit == "--tail" else lines[:count])
    if limit != "--tail":
        for name, source, limits in (("a", corpus, [limit, amount]), ("b", head, [])):
            arguments = [
                "tokenize",
                str(source),
                *limits,
                "--output-prefix",
                str(tmp_path / name),
                *common,
            ]
            assert prepare_corpus.main(arguments) == 0
        one, other = (tmp_path / f"{name}_content_document.bin" for name in "ab")
        assert one.read_bytes() == other.read_bytes()


def test_the_papers_own_counts_come_from_tokens_per_sample(tmp_path: Path, corpus: Path) -> None:
    """README of datablations: 1.9B tokens of C4 are `head -n 3969698`; here 100,000 times fewer."""
    output = tmp_path / "c4_1b9.jsonl"
    arguments = ["--tokens", "19k", "--tokens-per-sample", "478.625834583", "--output", str(output)]
    assert prepare_corpus.main(["subset", str(corpus), "--field", "content", *arguments]) == 0
    assert len(output.read_bytes().splitlines()) == 40


def test_several_inputs_are_one_corpus(tmp_path: Path, corpus: Path) -> None:
    halves = [tmp_path / "in" / name for name in ("a.jsonl", "b.jsonl")]
    lines = corpus.read_bytes().splitlines(keepends=True)
    for half, some in zip(halves, (lines[:40], lines[40:]), strict=True):
        half.write_bytes(b"".join(some))
    for name, inputs in (("one", [corpus]), ("two", halves)):
        arguments = [
            "--tokenizer",
            GPT2,
            "--field",
            "content",
            "--output-prefix",
            str(tmp_path / name),
        ]
        assert prepare_corpus.main(["tokenize", *map(str, inputs), *arguments]) == 0
    one, two = (tmp_path / f"{name}_content_document.bin" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    manifest = json.loads((tmp_path / "two_content_document.json").read_text())
    assert [source["name"] for source in manifest["inputs"]] == [str(half) for half in halves]


REFUSED = [
    (
        ["tokenize", "in/corpus.jsonl", "--tokenizer", GPT2],
        1,
        "in/corpus.jsonl:1: missing field: 'text'",
    ),
    (
        ["tokenize", "no.jsonl", "--tokenizer", GPT2],
        1,
        "no.jsonl is neither a file or folder nor a dataset's name",
    ),
    (
        ["tokenize", "in/corpus.jsonl", "--tokenizer", "nobody/nothing"],
        1,
        "tokenizer nobody/nothing is not a local folder",
    ),
    (["tokenize", "in/corpus.jsonl", "--tokenizer", "in"], 1, "has neither tokenizer.json nor"),
    (
        ["tokenize", "in/corpus.jsonl", "--tokenizer", GPT2, "--exact-tokens"],
        2,
        "--exact-tokens needs a number of tokens",
    ),
    (
        ["tokenize", "in/corpus.jsonl", "--tokenizer", GPT2, "--tokens", "many"],
        2,
        "'many' is not a count",
    ),
    (["tokenize", "in/corpus.jsonl", "--tokenizer", GPT2, "--samples", "0"], 2, " cannot be taken"),
    (["tokenize", "in/corpus.jsonl", "--tokenizer", GPT2, "--tokens", "0"], 2, " cannot be taken"),
    (
        ["tokenize", "in/corpus.jsonl", "--tokenizer", GPT2, "--tokens", "1", "--bytes", "1"],
        2,
        "not allowed with",
    ),
    (["tokenize", "in/corpus.jsonl"], 2, "--tokenizer"),
    (["subset", "in/corpus.jsonl", "--output", "out/x"], 2, "one of the arguments"),
    (
        ["subset", "in/corpus.jsonl", "--field", "content", "--tail", "101", "--output", "out/x"],
        1,
        "has 100 documents",
    ),
    (
        ["subset", "in/corpus.jsonl", "--field", "content", "--samples", "1B", "--output", "out/x"],
        1,
        "the input has 100 documents, fewer than the 1,000,000,000 asked for",
    ),
    (
        ["subset", "in/corpus.jsonl", "--tail", "1", "--output", "in/corpus.jsonl"],
        2,
        "would be overwritten",
    ),
    (
        ["subset", "in/corpus.jsonl", "--tokens", "9", "--output", "out/x"],
        1,
        "tokenizer gpt2 is not a local folder",
    ),
    (["tokenize", "pipe", "--tokenizer", GPT2], 1, "pipe is a pipe, not a file"),
    (["tokenize", "in/corpus.jsonl", "--tokenizer", "pipe"], 1, "pipe is a pipe, not a file"),
    (["subset", "pipe", "--samples", "1", "--output", "out/x"], 1, "pipe is a pipe, not a file"),
    (["tokenize", "in/c5.jsonl", "--tokenizer", GPT2], 1, "neither a file or folder nor"),
    (["tokenize", "./c5", "--tokenizer", GPT2], 1, "./c5 is neither a file or folder nor"),
    (["tokenize", "in/corpus.jsonl", "--tokenizer", "./gpt3"], 1, "./gpt3 does not exist"),
    (
        ["tokenize", "in", "--split", "test", "--tokenizer", GPT2],
        2,
        "--split test is for datasets of the Hub",
    ),
    (
        ["subset", "in", "--field", "content", "--tail", "1", "--output", "in/corpus.jsonl"],
        2,
        "would be overwritten",
    ),
    ([], 2, "the following arguments are required"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "message"), REFUSED, ids=lambda value: str(value)[:60]
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    tmp_path: Path, corpus: Path, arguments: list[str], code: int, message: str
) -> None:
    before = corpus.read_bytes()
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "pipe")
    if arguments[:1] == ["tokenize"]:
        arguments = [*arguments, "--output-prefix", "out/x"]
    # what names something on the Hub must find no network, also where there is one
    runner = run_alone if "is not a local folder" in message else run
    ended = runner(*arguments, cwd=tmp_path)
    assert ended.returncode == code
    assert ended.stdout == ""
    assert message in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "out").iterdir())
    assert corpus.read_bytes() == before


EMPTY = {
    "nothing": b"",
    "blank lines": b"\n\n",
    "broken lines alone": b"{\n" * 3,
    "empty documents alone": b'{"text": ""}\n' * 3,
}


@pytest.mark.parametrize("content", EMPTY)
@pytest.mark.parametrize("act", ["tokenize", "subset"])
def test_a_corpus_without_documents_is_an_error(act: str, content: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(EMPTY[content])
    options = {
        "tokenize": ("--tokenizer", GPT2, "--output-prefix", "out/x"),
        "subset": ("--tail", 9, "--output", "out/x.jsonl"),
    }
    ended = run(act, "x.jsonl", "--on-error", "skip", *options[act], cwd=tmp_path)
    assert ended.returncode == 1
    (error,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "document" in error
    assert [path for path in (tmp_path / "out").glob("*") if not path.name.startswith(".")] == []


def test_the_manifest_lists_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("train_a.jsonl", "b.jsonl"):
        (tmp_path / "in" / name).write_text(json.dumps({"text": name}) + "\n")
    (tmp_path / "in" / "README.md").touch()
    ended = run("tokenize", "in", "--tokenizer", GPT2, "--output-prefix", "x", cwd=tmp_path)
    assert ended.returncode == 0
    first, last = ended.stderr.splitlines()
    assert first == "in: 2 files, in the order of their paths; not taken for data: README.md"
    assert ": 2 documents" in last
    manifest = json.loads((tmp_path / "x_text_document.json").read_text())
    assert [source["name"] for source in manifest["inputs"]] == ["in/b.jsonl", "in/train_a.jsonl"]


def test_a_full_disk_is_one_line_that_names_the_output(tmp_path: Path, corpus: Path) -> None:
    with full_disk():
        ended = run(
            "subset",
            corpus,
            "--field",
            "content",
            "--samples",
            9,
            "--output",
            "out/x.jsonl",
            cwd=tmp_path,
        )
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: File too large: out/x.jsonl; larger than the file system or `ulimit -f` allows;"
        " choose another folder\n"
    )
    assert not list((tmp_path / "out").iterdir())


def test_help_shows_examples_that_parse() -> None:
    lines = (prepare_corpus.__doc__ or "").replace("\\\n", " ").splitlines()
    examples = [line.split()[1:] for line in lines if line.startswith("  tools/")]
    assert len(examples) == 4
    for example in examples:
        prepare_corpus.build_parser().parse_args(example)


_WITHOUT_THE_EXTRA = """
import runpy, sys
for name in ("numpy", "orjson", "pyarrow", "datasets", "tokenizers", "gigatoken", "tqdm", "xxhash"):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
sys.path.insert(0, "tools")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, "examples:"),
        (["tokenize", "--help"], 0, "--exact-tokens"),
        (["subset", "x.jsonl", "--output", "y"], 2, "one of the arguments"),
        (
            ["subset", "x.jsonl", "bigcode/the-stack-dedup", "--samples", "1", "--output", "y"],
            2,
            "different fields",
        ),
        (
            ["subset", "x.jsonl", "--samples", "1", "--output", "y"],
            1,
            "is not installed; in the kit's folder: pip install -e '.[data]'",
        ),
    ],
)
def test_help_and_wrong_arguments_need_no_optional_packages(
    arguments: list[str], code: int, message: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THE_EXTRA, "tools/prepare_corpus.py", *arguments],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code, ended.stderr
    assert message in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        (["bigcode/the-stack-dedup"], "content"),
        (["bigcode/the-stack-dedup:default"], "content"),
        (["allenai/c4:en"], "text"),
        (["nobody/knows-this"], "text"),
        (["x.jsonl", "allenai/c4:en"], "text"),
    ],
)
def test_the_field_is_the_registrys_where_none_is_given(inputs: list[str], field: str) -> None:
    assert prepare_corpus.default_field(inputs) == field


def test_a_local_folder_of_a_datasets_name_has_the_usual_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bigcode" / "the-stack-dedup").mkdir(parents=True)
    assert prepare_corpus.default_field(["bigcode/the-stack-dedup"]) == "text"


def test_inputs_with_different_fields_need_the_option() -> None:
    with pytest.raises(UsageError) as error:
        prepare_corpus.default_field(["x.jsonl", "bigcode/the-stack-dedup"])
    assert "'text' (x.jsonl) and 'content' (bigcode/the-stack-dedup)" in str(error.value)
    assert "--field" in error.value.hint


def test_the_registrys_field_is_read_and_named(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dataset is a local file that the registry is made to know."""
    known = dataclasses.replace(corpora.load_corpora()["python"], hub="in/corpus")
    monkeypatch.setattr(corpora, "load_corpora", lambda: {"python": known})
    monkeypatch.setattr(
        documents, "_dataset", lambda _, options: documents._jsonl(corpus, None, options)
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["tokenize", "in/corpus", "--tokenizer", GPT2, "--output-prefix", "x"]
    assert prepare_corpus.main(arguments) == 0
    assert json.loads((tmp_path / "x_content_document.json").read_text())["documents"] == 100
