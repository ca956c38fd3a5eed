"""tools/hub.py push and sync against a real HTTP server: changes arrive, and only those go."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from random import Random

import pytest
import yaml
from encore.errors import DataError
from encore.hub import client, upload
from helpers.hub_bench import Bench, below, some_bytes
from helpers.hub_server import MULTIPART, git_sha1

RUN = "146m14b400m"
REPO = f"tester/{RUN}"
STEP = "global_step20"
FILES = {
    f"{STEP}/layer_01.pt": some_bytes(1, 300_000),
    f"{STEP}/optim.pt": some_bytes(2, MULTIPART + 300_001),  # in parts
    f"{STEP}/mp_rank.pt": some_bytes(3, 90_000),
    "latest": STEP.encode(),
    "tensorboard/events.out.tfevents.1": b"events",
    "logs/1.out": some_bytes(4, 100_000),
    "empty.sh": b"",
}


def lay(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def bench(hub_bench: Bench) -> Bench:
    lay(hub_bench.home / "run")
    return hub_bench


def on_hub(bench: Bench, name: str = REPO) -> dict[str, bytes]:
    """The repository's files but for the card."""
    return {path: data for path, data in bench.hub.repos[name].files.items() if path != "README.md"}


def push(bench: Bench, *options: str, **env: str) -> str:
    ended = bench.run("push", RUN, "run", "--create", *options, **env)
    assert ended.code == 0, ended.err
    return ended.err


def test_a_folder_goes_up_whole_with_a_card(bench: Bench) -> None:
    assert f"{bench.hub.url}/{REPO}: sent 8 files, {sum(map(len, FILES.values())):,} bytes" in push(
        bench
    )
    assert on_hub(bench) == FILES
    card = bench.hub.repos[REPO].files["README.md"].decode()
    assert yaml.safe_load(card.split("---")[1])["datasets"] == ["allenai/c4"]
    for told in (
        "| layers | 15 |",
        "| training tokens | 14,000,000,000 |",
        "| epochs | 35 |",
        "3.390927",
        "render_sbatch",
    ):
        assert told in card


def test_what_is_named_by_latest_is_there_before_it_is_named(bench: Bench) -> None:
    files = upload.Push(bench.home / "run", client.Repository(REPO), str).local_files()
    assert [file.path for file in files][-1] == "latest" and len(files) == len(FILES)


def test_only_changes_go(bench: Bench) -> None:
    push(bench)
    commits = len(bench.hub.repos[REPO].commits)
    assert "sent 0 files, 0 bytes" in push(bench)
    assert len(bench.hub.repos[REPO].commits) == commits
    same_size = bytes(reversed(FILES[f"{STEP}/layer_01.pt"]))
    lay(
        bench.home / "run",
        {f"{STEP}/layer_01.pt": same_size, "logs/1.out": FILES["logs/1.out"] + b"more"},
    )
    sent_before = len(bench.hub.asked("PUT", "/lfs/"))
    assert "sent 2 files, 400,004 bytes" in push(bench)
    assert len(bench.hub.asked("PUT", "/lfs/")) == sent_before + 2
    assert (
        on_hub(bench)[f"{STEP}/layer_01.pt"] == same_size
        and len(bench.hub.repos[REPO].commits) == commits + 1
    )


def test_what_the_hub_has_beside_is_left_there(bench: Bench) -> None:
    bench.hub.add(REPO, {"README.md": b"# mine", "notes.txt": b"kept"})
    push(bench)
    assert bench.hub.repos[REPO].files == {**FILES, "README.md": b"# mine", "notes.txt": b"kept"}


def test_a_folders_own_card_is_the_card(bench: Bench) -> None:
    lay(bench.home / "run", {"README.md": b"---\ntags: [own]\n---\n# own\n"})
    push(bench)
    assert bench.hub.repos[REPO].files["README.md"].endswith(b"# own\n")


def test_a_pattern_that_matches_nothing_is_named(bench: Bench) -> None:
    for options in ([], ["--dry-run"]):
        argv = ("push", RUN, "run", "--create", "--patterns", "*tfevents*", "*.zip", *options)
        ended = bench.run(*argv)
        assert ended.code == 2 and "--patterns '*.zip' matches no file of run" in ended.err
    assert REPO not in bench.hub.repos


def test_links_that_are_left_out_are_named(bench: Bench) -> None:
    (bench.home / "run" / "big.pt").symlink_to(bench.home)
    (bench.home / "run" / "b").symlink_to(bench.home / "absent")
    ended = bench.run("push", RUN, "run", "--create")
    assert ended.code == 0 and "warning: run: 2 links are left out: big.pt, b" in ended.err
    assert not {"b", "big.pt"} & on_hub(bench).keys()


def test_patterns_choose(bench: Bench) -> None:
    push(bench, "--patterns", "*tfevents*", "latest")
    assert set(on_hub(bench)) == {"tensorboard/events.out.tfevents.1", "latest"}


def test_a_repository_is_made_only_when_asked_and_private_when_asked(bench: Bench) -> None:
    ended = bench.run("push", RUN, "run")
    assert (
        ended.code == 1
        and f"{REPO} does not exist on the Hub" in ended.err
        and "--create" in ended.err
    )
    assert not bench.hub.repos
    ended = bench.run("push", RUN, "run", "--private")
    assert ended.code == 2 and "add --create" in ended.err
    push(bench, "--private", "--repo", "tester/other")
    assert bench.hub.repos["tester/other"].private and on_hub(bench, "tester/other") == FILES


def test_nothing_private_goes_into_a_public_repository(bench: Bench) -> None:
    bench.hub.add(REPO, {"notes.txt": b""})
    ended = bench.run("push", RUN, "run", "--create", "--private")
    assert ended.code == 1 and f"{REPO} already exists, and is public; make it private" in ended.err
    assert on_hub(bench) == {"notes.txt": b""} and not bench.hub.objects


def test_a_dry_run_lists_and_sends_nothing(bench: Bench) -> None:
    bench.hub.add(REPO, {"latest": STEP.encode()})
    ended = bench.run("push", RUN, "run", "--dry-run", "--json")
    assert {row["file"]: row["bytes"] for row in json.loads(ended.out)} == {
        name: len(data) for name, data in FILES.items() if name != "latest"
    }
    assert f"would send 6 files, {sum(map(len, FILES.values())) - len(STEP):,} bytes" in ended.err
    assert not [method for method, path, _ in bench.hub.requests if method in ("POST", "PUT")]


def test_without_a_login_the_way_in_is_told_and_no_token_is_printed(bench: Bench) -> None:
    for env in ({"HF_TOKEN": ""}, {"HF_TOKEN": "hf_wrong_and_secret"}):
        ended = bench.run("push", RUN, "run", "--create", **env)
        assert ended.code == 1 and "hf auth login" in ended.err and "Traceback" not in ended.err
        assert "hf_wrong" not in ended.err and not bench.hub.repos


@pytest.mark.parametrize("name", ["../x", "a/b/c", "nobody"])
def test_a_repository_has_an_owner_and_a_name(bench: Bench, name: str) -> None:
    ended = bench.run("push", RUN, "run", "--repo", name)
    assert ended.code in (1, 2) and "error:" in ended.err and "Traceback" not in ended.err


def test_a_run_whose_name_says_nothing_and_a_folder_that_is_none_are_refused(bench: Bench) -> None:
    ended = bench.run("push", "my-run", "run")
    assert ended.code == 2 and "'my-run' is not a run's name" in ended.err
    ended = bench.run("push", RUN, "absent", "--create")
    assert ended.code == 1 and "absent is not a folder" in ended.err
    with pytest.raises(DataError):
        upload.Push(bench.home / "err", client.Repository(REPO), str).local_files()


FAULTS = {
    "a busy Hub": [("POST", "/preupload/", 429), ("POST", "/objects/batch", 503)],
    "uploads": [
        ("PUT", r"/lfs/\w{64}$", 500),
        ("PUT", r"/lfs/\w{64}/2", 503),
        ("PUT", r"/lfs/\w{64}$", "lost"),
    ],
    "a server error at the commit": [("POST", "/commit/", 502)],
    "a commit whose answer is lost": [("POST", "/commit/", "lost")],
    "a listing that is cut": [("GET", "/tree/", "cut")],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_passing_fault_changes_nothing(bench: Bench, name: str) -> None:
    for fault in FAULTS[name]:
        bench.hub.fault(*fault)
    bench.hub.add(REPO, {"notes.txt": b"kept"})
    assert "Traceback" not in push(bench)
    assert on_hub(bench) == {**FILES, "notes.txt": b"kept"}
    assert [fault.times for fault in bench.hub.faults if fault.times] == []


def test_a_commit_is_whole(bench: Bench) -> None:
    """What a failed push left: the large files are up, none of them is shown."""
    bench.hub.fault("POST", "/commit/", 400, 100)
    ended = bench.run("push", RUN, "run", "--create")
    assert ended.code == 1 and "the Hub rejected the request (400)" in ended.err
    assert on_hub(bench) == {} and len(bench.hub.objects) == 4
    bench.hub.faults.clear()
    sent = len(bench.hub.asked("PUT", "/lfs/"))
    push(bench)
    assert on_hub(bench) == FILES and len(bench.hub.asked("PUT", "/lfs/")) == sent


def test_temporary_files_and_checkpoints_in_the_making_stay_here(bench: Bench) -> None:
    unfinished = {"global_step40/layer_01.pt": b"half", ".global_step60.unfinished/a.pt": b"half"}
    lay(
        bench.home / "run",
        {**unfinished, "x.tmp": b"", ".hidden": b"", "hub-manifest.json": b"{}", "a.lock": b""},
    )
    (bench.home / "run" / "link").symlink_to(bench.home / "err")
    assert "global_step40: still being written, left for the next push" in push(bench)
    assert on_hub(bench) == FILES
    lay(bench.home / "run", {"latest": b"global_step40"})
    push(bench)
    assert on_hub(bench).keys() == {*FILES, "global_step40/layer_01.pt"}


def test_without_latest_a_fresh_checkpoint_waits_and_an_old_one_goes(bench: Bench) -> None:
    (bench.home / "run" / "latest").unlink()
    assert f"{STEP}: still being written" in push(bench)
    hour_ago = time.time() - 3600
    for path in (bench.home / "run" / STEP).iterdir():
        os.utime(path, (hour_ago, hour_ago))
    push(bench)
    assert on_hub(bench) == {name: data for name, data in FILES.items() if name != "latest"}


def test_many_files_go_in_several_commits(bench: Bench, tmp_path: Path) -> None:
    many = [upload.LocalFile(str(i), tmp_path, 1 << 20, 0) for i in range(700)]
    batches = list(upload._batches(many))
    assert [file for batch in batches for file in batch] == many
    assert [len(batch) for batch in batches] == [100] * 7
    tiny = [upload.LocalFile(str(i), tmp_path, 0, 0) for i in range(700)]
    assert [len(batch) for batch in upload._batches(tiny)] == [500, 200]


@pytest.mark.slow
def test_a_hundred_kills_end_in_the_same_bytes(bench: Bench) -> None:
    random, killed, rounds = Random(7), 0, 0
    usual_s = bench.run("push", RUN, "run", "--create").seconds
    right = bench.hub.repos[REPO].files
    bench.hub.reset()
    while killed < 100:
        ended = bench.run(
            "push",
            RUN,
            "run",
            "--create",
            signal=signal.SIGKILL,
            after_s=random.uniform(0, 1.2 * usual_s),
        )
        listings = bench.hub.repos[REPO].commits.values() if REPO in bench.hub.repos else []
        for (
            listing
        ) in listings:  # a reader never saw half a file, nor a part of the run without the rest
            assert {path: right[path] for path in listing} == listing and len(listing) in (
                len(FILES),
                len(right),
            )
        if ended.code == -signal.SIGKILL:
            killed += 1
            continue
        assert ended.code == 0 and bench.hub.repos[REPO].files == right, ended.err
        bench.hub.reset()
        rounds += 1
    push(bench)
    assert bench.hub.repos[REPO].files == right and killed == 100 and rounds > 0


class Writer(threading.Thread):
    """Appends to a log until it is ended; makes `flag` once the hub has `commits` commits."""

    def __init__(self, bench: Bench, log: Path, commits: int) -> None:
        super().__init__(daemon=True)
        self.bench, self.log, self.commits = bench, log, commits
        self.flag, self.ended = bench.home / "flag", threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.01):
            with open(self.log, "ab") as handle:
                handle.write(some_bytes(self.log.stat().st_size % 1000, 3000))
            if (
                REPO in self.bench.hub.repos
                and len(self.bench.hub.repos[REPO].commits) >= self.commits
            ):
                self.flag.touch()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_sync_follows_growing_files_and_ends_cleanly(bench: Bench, number: int) -> None:
    log = bench.home / "run" / "logs" / "1.out"
    writer = Writer(bench, log, commits=4)
    writer.start()
    ended = bench.run(
        "sync", RUN, "run", "--create", "--every", "1s", signal=number, when=writer.flag
    )
    writer.ended.set()
    writer.join()
    assert ended.code == 0 and ended.err.rstrip().endswith(
        "the next sync or push sends the rest"
    ), ended.err
    versions = [listing["logs/1.out"] for listing in bench.hub.repos[REPO].commits.values()]
    assert len({len(version) for version in versions}) >= 3
    assert all(log.read_bytes().startswith(version) for version in versions)
    assert on_hub(bench).keys() == FILES.keys() and "tester/146m14b400m: sent 8 files" in ended.err


@pytest.mark.slow
def test_sync_survives_a_hub_that_is_away(bench: Bench) -> None:
    bench.hub.add(REPO, {"notes.txt": b""})
    bench.hub.fault("POST", "/commit/", 503, 2)
    flag, done = bench.home / "flag", threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            if "latest" in bench.hub.repos[REPO].files:
                flag.touch()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    ended = bench.run("sync", RUN, "run", "--every", "1s", signal=signal.SIGTERM, when=flag)
    done.set()
    watcher.join()
    assert ended.code == 0
    assert (
        "the Hub answered 503; next attempt in 1 s" in ended.err
        and FILES.items() <= on_hub(bench).items()
    )


def test_sync_refuses_at_once_what_waiting_does_not_mend(bench: Bench) -> None:
    ended = bench.run("sync", RUN, "run", "--every", "1s")
    assert ended.code == 1 and f"{REPO} does not exist on the Hub" in ended.err
    ended = bench.run("sync", RUN, "run", "--every", "0.5s")
    assert ended.code == 2 and "'0.5s' is not a time from a second" in ended.err


def test_what_was_pushed_can_be_pulled(bench: Bench) -> None:
    push(bench, "--private")
    ended = bench.run("pull", RUN, "--repo", REPO, "--what", "all", "--out", "back")
    assert ended.code == 0, ended.err
    back = bench.hub.repos[REPO].files
    assert below(bench.home / "back").keys() == {*back, "hub-manifest.json"}
    assert all((bench.home / "back" / path).read_bytes() == data for path, data in back.items())
    assert git_sha1(b"") in (bench.home / "back" / "hub-manifest.json").read_text()
    shutil.rmtree(bench.home / "back")
