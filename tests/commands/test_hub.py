"""tools/hub.py list and where, refused requests, and the places of runs in repositories."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from encore.errors import HubError, UnknownNameError
from encore.hub import client, download, locate
from encore.registry import released
from helpers.commands import run_command
from helpers.hub_bench import ROOT, Bench

RUN, REPO = "146m14b400m", "datablations/lm1-misc"
UNREACHABLE = "http://127.0.0.1:9"  # the discard port, on which nothing listens


def command(tmp_path: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it."""
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "hub.py"), *argv],
        cwd=tmp_path,
        env={
            **os.environ,
            "HF_HOME": str(tmp_path / "hf"),
            "XDG_CONFIG_HOME": str(tmp_path),
            **environment,
        },
        check=False,
        capture_output=True,
        text=True,
    )


def without_library(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """The command where the Hub's library, numpy and torch are not installed."""
    program = (
        "import sys; sys.modules |= dict.fromkeys(('huggingface_hub', 'numpy', 'torch', 'tqdm'));"
        f" sys.path.insert(0, {str(ROOT / 'tools')!r}); import hub; from encore import cli;"
        " cli.run(hub.main, extra='hub')"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *argv],
        cwd=folder,
        env={**os.environ, "HF_ENDPOINT": UNREACHABLE, "XDG_CONFIG_HOME": str(folder)},
        check=False,
        capture_output=True,
        text=True,
    )


def test_list_needs_neither_network_nor_library(tmp_path: Path) -> None:
    ended = without_library(tmp_path, "list", "--json")
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)
    assert len(rows) == 46 and rows[0]["name"] == "lm1-misc"


def test_without_the_library_where_says_that_the_hub_was_not_asked(tmp_path: Path) -> None:
    ended = without_library(tmp_path, "where", RUN, "--json")
    assert ended.returncode == 0, ended.stderr
    assert "huggingface_hub is not installed" in ended.stderr and "'.[hub]'" in ended.stderr
    assert "was not checked on the Hub" in ended.stderr and ended.stderr.count("\n") == 1
    (row,) = json.loads(ended.stdout)
    assert (row["checked"], row["folder"]) == ("not checked", RUN)
    assert row["url"] == f"{UNREACHABLE}/{REPO}/tree/main/{RUN}"


@pytest.mark.parametrize("argv", [("pull", RUN), ("push", RUN, "."), ("sync", RUN, ".")])
def test_without_the_library_its_extra_is_named(tmp_path: Path, argv: tuple[str, ...]) -> None:
    ended = without_library(tmp_path, *argv)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.endswith(
        "error: huggingface_hub is not installed; in the kit's folder: pip install -e '.[hub]'\n"
    )


def test_lists_are_filtered(hub_bench: Bench) -> None:
    def names(key: str, *options: str) -> list[str]:
        return [row[key] for row in json.loads(hub_bench.run("list", *options, "--json").out)]

    assert len(names("name", "--kind", "dataset")) == 10
    assert set(names("name", "--corpus", "pile")) == {"lm1-misc-pile"}
    assert (
        names("name", "4b2", "--corpus", "oscar", "--kind", "model")[0]
        == "lm1-4b2-84b-oscar-repetitions"
    )
    assert len(names("run", "--runs")) == 488
    assert names("repository", "--runs", "8b7178b25b", "--corpus", "oscar") == [
        "lm1-8b7-178b-oscar-repetitions"
    ]
    assert len(names("run", "--repo", "lm1-misc")) == 215
    assert names("run", "--runs", "2b84b4b") == ["2b84b4b"]
    ended = hub_bench.run("list", "nothing like this")
    assert (ended.code, ended.out, ended.err) == (0, "", "nothing matches\n")
    assert hub_bench.run("list", "--corpus", "bookcorpus").code == 2
    assert (
        "unknown repository 'lm1-mics'; valid: lm1-misc"
        in hub_bench.run("list", "--repo", "lm1-mics").err
    )


def test_where_asks_the_hub_and_offers_steps_and_kinds(hub_bench: Bench) -> None:
    paths = (f"{RUN}/global_step21553/a.pt", f"{RUN}/global_step9/a.pt", f"{RUN}/evaluation/x.json")
    hub_bench.hub.add(REPO, dict.fromkeys(paths, b"x"))
    ended = hub_bench.run("where", RUN, "--json")
    assert ended.code == 0 and ended.err == ""
    (row,) = json.loads(ended.out)
    assert row["checked"] == "on the Hub" and row["folder"] == RUN and row["attribution"] == "named"
    assert row["steps"] == [9, 21553] and row["holds"] == ["checkpoint", "evaluation"]
    assert row["url"] == f"{hub_bench.hub.url}/{REPO}/tree/main/{RUN}"
    text = hub_bench.run("where", RUN).out
    assert "steps        9, 21553\n" in text and "holds        checkpoint, evaluation\n" in text


def test_an_inferred_place_is_checked(hub_bench: Bench) -> None:
    hub_bench.hub.add(REPO, {"146m14b100mdedup/latest": b"x", "README.md": b""})
    there, absent = (
        hub_bench.run("where", "146m14b100mdedup", "--json"),
        hub_bench.run("where", "83m14b100mdedup"),
    )
    (row,) = json.loads(there.out)
    assert (row["attribution"], row["checked"]) == ("inferred", "on the Hub")
    assert (
        absent.code == 1
        and "not on the Hub: datablations/lm1-misc has no folder 83m14b100mdedup" in absent.out
    )
    assert "nearest: 146m14b100mdedup" in hub_bench.run("pull", "83m14b100mdedup").err


def test_a_run_in_several_repositories_lists_them_and_asks(hub_bench: Bench) -> None:
    second = "lm1-8b7-178b-oscar-repetitions"
    hub_bench.hub.add(f"datablations/{second}", {"8b7178b25b/latest": b"x"})
    rows = json.loads(hub_bench.run("where", "8b7178b25b", "--json").out)
    assert [row["repository"] for row in rows] == ["lm1-8b7-178b-c4-repetitions", second]
    assert [row["checked"] == "on the Hub" for row in rows] == [False, True]
    ended = hub_bench.run("pull", "8b7178b25b")
    assert (
        ended.code == 2
        and "is in 2 repositories" in ended.err
        and "choose with --repo" in ended.err
    )
    assert hub_bench.run("pull", "8b7178b25b", "--repo", second).code == 0
    assert (hub_bench.home / "8b7178b25b" / "latest").read_bytes() == b"x"


def test_without_the_hub_where_says_that_nothing_was_checked(tmp_path: Path) -> None:
    ended = command(tmp_path, "where", "146m14b100mdedup", HF_ENDPOINT=UNREACHABLE)
    assert (
        ended.returncode == 0
        and "does not answer: what follows comes from the registry and was not checked"
        in ended.stderr
    )
    assert (
        "attribution  inferred\n" in ended.stdout and "checked      not checked\n" in ended.stdout
    )
    ended = command(tmp_path, "where", "2b84b4b", HF_HUB_OFFLINE="1")
    assert ended.returncode == 0 and "attribution  unknown\n" in ended.stdout


def test_without_the_hub_a_pull_is_one_line(tmp_path: Path) -> None:
    ended = command(tmp_path, "pull", RUN, HF_ENDPOINT=UNREACHABLE)
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1
    assert f"error: {REPO}: {UNREACHABLE} does not answer" in ended.stderr
    ended = command(tmp_path, "pull", RUN, HF_HUB_OFFLINE="1")
    assert ended.returncode == 1
    assert (
        ended.stderr
        == f"error: {REPO}: HF_HUB_OFFLINE forbids requests to the Hub; unset HF_HUB_OFFLINE\n"
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("146m14b401m", "unknown run, data set or tokenizer '146m14b401m'; valid: 146m14b400m"),
        ("c4-subset", "valid: c4-subsets"),
        (
            "lm1-misc",
            "lm1-misc holds many runs; list them with tools/hub.py list --runs --repo lm1-misc",
        ),
        ("lm1-misc/146m14b401m", "unknown released run '146m14b401m'"),
        ("2b84b4b", "no source states that 2b84b4b is in any repository"),
    ],
)
def test_a_name_that_is_none_says_what_is(hub_bench: Bench, name: str, what: str) -> None:
    ended = hub_bench.run("pull", name)
    assert ended.code == 2 and what in ended.err and ended.err.count("\n") == 1


@pytest.mark.parametrize("name", ["/etc/passwd", "..", "a/b", ".hidden", "a b"])
def test_a_run_of_anyones_repository_is_a_plain_name(hub_bench: Bench, name: str) -> None:
    ended = hub_bench.run("pull", name, "--repo", "tester/x")
    assert ended.code == 2 and "is not a run's name" in ended.err and not hub_bench.hub.requests


def test_a_run_that_is_a_whole_repository_lies_at_its_root(hub_bench: Bench) -> None:
    name = "lm1-4b2-84b-oscarroots"
    hub_bench.hub.add(
        f"datablations/{name}",
        {"global_step5/a.pt": b"x", "evaluation/y.json": b"", "README.md": b""},
    )
    (row,) = json.loads(hub_bench.run("where", name, "--json").out)
    assert (
        row["folder"] == "(the root)" and row["url"] == f"{hub_bench.hub.url}/datablations/{name}"
    )
    assert hub_bench.run("pull", name, "--what", "all").code == 0
    assert (hub_bench.home / name / "global_step5" / "a.pt").read_bytes() == b"x"


def test_a_data_set_takes_no_repo_and_jobs_are_few(hub_bench: Bench) -> None:
    for option in (("--repo", "a/b"), ("--step", "5"), ("--what", "logs")):
        ended = hub_bench.run("pull", "c4-subsets", *option)
        assert ended.code == 2 and "--repo, --what and --step are for runs" in ended.err
    assert hub_bench.run("pull", RUN, "--jobs", "0").code == 2
    assert hub_bench.run("pull", RUN, "--what", "weights").code == 2


@pytest.mark.parametrize("name", ["c4-subsets/Deep/X", "datablations/c4-subsets/Deep/X/"])
def test_a_data_set_may_have_its_organisation_before_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def planned(*arguments: object) -> download.DownloadPlan:
        raise HubError(repr(arguments))

    monkeypatch.setattr(locate, "dataset_plan", planned)
    with pytest.raises(HubError) as caught:
        locate.download_plan(name, None, "main", locate.RunSelection(), None)
    # files of a data set keep the case of their names
    assert str(caught.value) == repr(("c4-subsets", "Deep/X", "main", Path("c4-subsets")))


@pytest.mark.parametrize("repo", ["lm1-misc", "datablations/lm1-misc", "Datablations/LM1-misc"])
def test_a_repository_may_have_its_organisation_before_it(
    monkeypatch: pytest.MonkeyPatch, repo: str
) -> None:
    assert run_command("hub", "list", "--repo", repo, "--json").stdout.count('"run"') == 215

    def commit(repository: client.Repository, revision: str) -> str:
        raise HubError(repr(repository))

    monkeypatch.setattr(client, "resolve_commit", commit)
    with pytest.raises(HubError) as caught:
        locate.find_run(RUN, repo)
    assert str(caught.value) == repr(client.Repository("datablations/lm1-misc"))


def test_an_unknown_name_is_one_short_line() -> None:
    for name in ("zzz", "nobody/zzz", "K46M"):
        ended = run_command("hub", "pull", name)
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and len(ended.stderr) < 250
        assert "tools/hub.py list --runs, or tools/hub.py list" in ended.stderr


def test_a_runs_folders() -> None:
    def folders(*top: str, run: str = RUN, alone: bool = False) -> tuple[str, ...]:
        return locate.run_folders(run, top, alone, "x/y")

    assert folders("README.md", f"{RUN}/", f"{RUN}dedup/") == (RUN,)
    assert folders(f"{RUN}/", f"tensorboard_{RUN}/", f"tensorboard_{RUN}dedup/") == (
        RUN,
        f"tensorboard_{RUN}",
    )
    assert folders("evaluation/", "transformers/", alone=True) == ("",)
    assert folders("global_step5/", alone=True) == ("",)
    with pytest.raises(HubError, match="x/y has no folder 146m14b400m"):
        folders("evaluation/", "transformers/")
    with pytest.raises(HubError):
        folders("README.md", RUN, alone=True)  # a file of that name is no folder


def test_what_names_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def found(run: str, given: str | None, revision: str) -> locate.RunLocation:
        asked.append((run, given))
        raise HubError("looked")

    monkeypatch.setattr(locate, "find_run", found)
    for name, repo in (
        (RUN, None),
        (f"lm1-misc/{RUN}", None),
        ("lm1-4b2-84b-oscarroots", None),
        ("mine", "me/x"),
        ("Mine", "me/x"),
        ("146M14B400M", None),
        ("lm1-146m14b400m", None),
        ("LM1-146m-14b-400m", None),
        (f"datablations/lm1-misc/{RUN}", None),
        (f"lm1-misc/LM1-{RUN}", None),
    ):
        with pytest.raises(HubError, match="looked"):
            locate.download_plan(name, repo, "main", locate.RunSelection(), None)
    assert asked == [
        (RUN, None),
        (RUN, "lm1-misc"),
        ("lm1-4b2-84b-oscarroots", None),
        ("mine", "me/x"),
        ("Mine", "me/x"),
        (RUN, None),
        (RUN, None),
        (RUN, None),
        (RUN, "lm1-misc"),
        (RUN, "lm1-misc"),
    ]
    with pytest.raises(UnknownNameError):
        locate.paper_repository("lm1")
    assert locate.paper_repository("mup") == client.Repository(
        f"{released.organisation()}/mup", "dataset"
    )
