"""tools/hub.py pull against a real HTTP server: exactly the Hub's bytes arrive, or nothing."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from encore.errors import EncoreError, HubError, OutputError
from encore.hub import client, download, pull
from helpers.hub_bench import ROOT, Bench, Ended, below, some_bytes

RUN, REPO = "146m14b400m", "datablations/lm1-misc"
STEP = f"{RUN}/global_step21553"
BIG = f"{STEP}/layer_01.pt"


def files_of_run() -> dict[str, bytes]:
    large = {f"{STEP}/layer_{i:02d}.pt": some_bytes(i, 600_000 + i) for i in range(1, 4)}
    same = {f"{RUN}/transformers/merges.txt": b"same", f"{RUN}/evaluation/merges.txt": b"same"}
    small = {
        f"{RUN}/latest": b"global_step21553",
        f"{STEP}/empty.pt": b"",
        f"{RUN}/run.sh": b"#!/bin/bash\n",
    }
    others = {
        "README.md": b"# card",
        "146m14b400mdedup/global_step1/x.pt": b"another run",
        f"{RUN}/logs/1.out": b"log",
    }
    return (
        large
        | same
        | small
        | others
        | {f"tensorboard_{RUN}/events.out.tfevents.1": some_bytes(9, 50_000)}
    )


def expected(what: str = "global_step21553/") -> dict[str, bytes]:
    """The files of the run whose local names begin so, and the record of the newest checkpoint."""
    local = {path.removeprefix(f"{RUN}/"): data for path, data in files_of_run().items()}
    return {path: data for path, data in local.items() if path.startswith(what)}


CHECKPOINT = {**expected(), "latest": b"global_step21553"}


@pytest.fixture
def bench(hub_bench: Bench) -> Bench:
    hub_bench.hub.add(REPO, files_of_run())
    return hub_bench


def brought(folder: Path) -> dict[str, bytes]:
    found = below(folder)
    del found[download.MANIFEST]
    return found


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / download.MANIFEST).read_text())


def test_a_checkpoint_comes_whole_and_nothing_else(bench: Bench) -> None:
    ended = bench.run("pull", RUN)
    assert (ended.code, ended.out) == (0, "")
    assert brought(bench.home / RUN) == CHECKPOINT
    assert [path.name for path in (bench.home / RUN).iterdir() if path.name.startswith(".")] == []
    told = manifest(bench.home / RUN)
    assert (told["repository"], told["type"]) == (REPO, "model")
    entry = told["files"]["global_step21553/layer_01.pt"]
    digest = hashlib.sha256(files_of_run()[BIG]).hexdigest()
    assert entry == {
        "path": BIG,
        "revision": bench.hub.repos[REPO].head,
        "size": 600_001,
        "sha256": digest,
    }
    assert set(told["files"]) == set(CHECKPOINT)


LIES: dict[str, dict[str, Any]] = {
    "a digest that leads out, of a large file": {
        "lfs": {"oid": "/../../../../../outside", "size": 600_001, "pointerSize": 134}
    },
    "a digest that leads out, of a small file": {"oid": "/../../../../../outside", "lfs": None},
    "capital letters": {"oid": "A" * 40, "lfs": None},
    "a short digest": {"oid": "0" * 39, "lfs": None},
    "a digest that is a number": {"oid": 7, "lfs": None},
    "no digest": {"oid": None, "lfs": None},
    "a negative size": {"size": -1, "lfs": None},
    "a size in words": {"size": "many", "lfs": None},
    "no size": {"size": None, "lfs": None},
    "no kind": {"type": None},
    "large-file storage without a size": {"lfs": {"oid": "0" * 64}},
    "large-file storage that is a number": {"lfs": 7},
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_hub_states_never_leads_out_of_the_folder(lie: str, bench: Bench) -> None:
    outside = bench.home / "outside"
    outside.write_text("mine")
    bench.hub.lies[BIG] = LIES[lie]
    ended = bench.run("pull", RUN, "--out", "deep/er/out")
    assert ended.code == 1 and ended.out == ""
    (error,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert "Hub" in error and "Traceback" not in ended.err
    assert outside.read_text() == "mine"
    # out and err are the bench's own
    assert {path.name for path in bench.home.iterdir()} <= {"outside", "deep", "out", "err"}


def test_a_token_goes_to_the_hub_and_not_beyond(bench: Bench) -> None:
    assert bench.run("pull", RUN).code == 0
    assert all("authorization" in headers for headers in bench.hub.asked("GET", "/resolve/"))
    cdn = bench.hub.asked("GET", "/cdn/")
    assert len(cdn) == 3 and not any("authorization" in headers for headers in cdn)


def test_kinds_can_be_chosen(bench: Bench) -> None:
    assert (
        bench.run("pull", RUN, "--what", "tensorboard", "script", "--out", "some where").code == 0
    )
    wanted = expected("run.sh") | expected("tensorboard_")
    assert len(wanted) == 2 and brought(bench.home / "some where") == wanted
    assert bench.run("pull", f"lm1-misc/{RUN}", "--what", "all").code == 0
    everything = {**expected(""), "README.md": b""}
    del everything["README.md"], everything["146m14b400mdedup/global_step1/x.pt"]
    assert brought(bench.home / RUN) == everything


def test_a_second_pull_adds_to_the_manifest_and_takes_only_what_is_missing(bench: Bench) -> None:
    bench.run("pull", RUN)
    before = len(bench.hub.asked("GET", "/resolve/"))
    ended = bench.run("pull", RUN, "--what", "checkpoint", "script", "--json")
    assert [row["file"] for row in json.loads(ended.out) if row["taken"]] == ["run.sh"]
    assert len(bench.hub.asked("GET", "/resolve/")) == before + 1
    assert set(manifest(bench.home / RUN)["files"]) == {*CHECKPOINT, "run.sh"}


def test_a_damaged_file_comes_again(bench: Bench) -> None:
    bench.run("pull", RUN)
    target = bench.home / RUN / "global_step21553" / "layer_02.pt"
    data = bytearray(target.read_bytes())
    data[1000] ^= 1
    target.write_bytes(data)
    ended = bench.run("pull", RUN)
    assert (
        "downloaded 1 of 5 files, 600,002 bytes" in ended.err
        and brought(bench.home / RUN) == CHECKPOINT
    )


def test_a_dry_run_says_files_and_bytes_and_takes_nothing(bench: Bench) -> None:
    ended = bench.run("pull", RUN, "--dry-run", "--json")
    rows = json.loads(ended.out)
    assert {row["file"]: row["bytes"] for row in rows} == {
        path: len(data) for path, data in CHECKPOINT.items()
    }
    assert "would download 5 of 5 files, 1,800,022 bytes (1.72 MiB)" in ended.err
    assert not (bench.home / RUN).exists() and not bench.hub.asked("GET", "/resolve/")


def test_a_listing_of_many_pages_is_read_to_its_end(bench: Bench) -> None:
    bench.hub.page = 2
    assert bench.run("pull", RUN).code == 0
    assert brought(bench.home / RUN) == CHECKPOINT
    assert len(bench.hub.asked("GET", "/tree/")) > 3


def test_steps_are_offered(bench: Bench) -> None:
    bench.hub.add(REPO, {f"{RUN}/global_step900/a.pt": b"old"})
    asked = bench.run("pull", RUN)
    assert asked.code == 2 and "error: there are 2 steps: 900, 21553; add --step N" in asked.err
    assert bench.run("pull", RUN, "--step", "900").code == 0
    assert brought(bench.home / RUN) == {"global_step900/a.pt": b"old"}
    assert bench.run("pull", RUN, "--step", "latest", "--out", "new").code == 0
    assert brought(bench.home / "new") == CHECKPOINT
    assert (
        "no step '7'; valid: 900, 21553, latest, all" in bench.run("pull", RUN, "--step", "7").err
    )


def test_a_revision_is_pinned(bench: Bench) -> None:
    first = bench.hub.repos[REPO].head
    bench.hub.add(REPO, {BIG: b"changed since"})
    assert bench.run("pull", RUN, "--revision", first).code == 0
    assert brought(bench.home / RUN) == CHECKPOINT
    assert {entry["revision"] for entry in manifest(bench.home / RUN)["files"].values()} == {first}
    assert (
        "no such revision; name a branch, tag or commit"
        in bench.run("pull", RUN, "--revision", "v9").err
    )


FAULTS = {
    "cut connections": [("GET", "/cdn/", "cut"), ("GET", "/resolve/.*/latest", "cut")],
    "a truncated file and one with a wrong byte": [
        ("GET", "/cdn/", "short"),
        ("GET", "/cdn/", "wrong"),
    ],
    "too many requests": [("GET", "/resolve/", 429)],
    "server errors at the Hub and its CDN": [("GET", "/resolve/", 503), ("GET", "/cdn/", 502)],
    "server errors for the listings": [("GET", "/revision/", 503), ("GET", "/tree/", 500)],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_passing_fault_changes_nothing(bench: Bench, name: str) -> None:
    for method, pattern, kind in FAULTS[name]:
        bench.hub.fault(method, pattern, kind, Retry_After="0")
    ended = bench.run("pull", RUN)
    assert ended.code == 0, ended.err
    assert brought(bench.home / RUN) == CHECKPOINT
    assert (
        "Traceback" not in ended.err
        and [fault.times for fault in bench.hub.faults if fault.times] == []
    )


def test_a_cut_download_goes_on_where_it_was(bench: Bench) -> None:
    bench.hub.fault("GET", "/cdn/", "cut")
    assert bench.run("pull", RUN, "--jobs", "1").code == 0
    ranges = [headers["range"] for headers in bench.hub.asked("GET", "/cdn/") if "range" in headers]
    assert ranges == ["bytes=262144-"]
    assert brought(bench.home / RUN) == CHECKPOINT


def test_a_range_that_is_ignored_starts_the_file_over(bench: Bench) -> None:
    bench.hub.fault("GET", "/cdn/", "cut")
    bench.hub.fault("GET", "/cdn/", "no-range", 3)
    assert bench.run("pull", RUN, "--jobs", "1").code == 0
    assert brought(bench.home / RUN) == CHECKPOINT


def test_bytes_that_stay_wrong_are_refused_by_name(bench: Bench) -> None:
    bench.hub.fault("GET", "/cdn/", "wrong", 100)
    ended = bench.run("pull", RUN, "--jobs", "1")
    assert ended.code == 1 and ended.err.count("Traceback") == 0
    digest = hashlib.sha256(files_of_run()[BIG]).hexdigest()
    assert (
        f"error: {BIG}: the bytes received differ from the Hub's hash"
        f" (size 600,001, sha256 {digest})" in ended.err
    )
    assert not (bench.home / BIG).exists() and not (bench.home / RUN / download.MANIFEST).exists()


def test_a_refusal_is_one_line_with_the_next_step(bench: Bench) -> None:
    bench.hub.fault("GET", "/resolve/", 403, 100)
    ended = bench.run("pull", RUN)
    assert ended.code == 1 and ended.err.count("\n") == 1
    assert "permission denied (403); log in with `hf auth login`, or set HF_TOKEN" in ended.err
    bench.hub.repos.clear()
    ended = bench.run("pull", RUN)
    assert (
        ended.code == 1
        and f"error: {REPO} does not exist on the Hub, or you have no access; if it is private"
        in ended.err
    )
    assert "hf_loopback" not in ended.err


def test_a_file_that_would_leave_the_folder_stops_the_pull_before_it_begins(bench: Bench) -> None:
    bench.hub.add(REPO, {f"{RUN}/global_step21553/../../../../evil.sh": b"rm -rf /"})
    ended = bench.run("pull", RUN)
    assert (
        ended.code == 1
        and "evil.sh', which would leave the folder; nothing was downloaded" in ended.err
    )
    assert below(bench.home).keys() == {"out", "err"} and not bench.hub.asked("GET", "/resolve/")


def test_a_link_in_the_folder_does_not_lead_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path / "elsewhere")
    item = download.DownloadItem(client.RemoteFile("a/b", 1, "0" * 40, large=False), "a/b")
    with pytest.raises(HubError, match="cannot be written below"):
        download.DownloadPlan(client.Repository("x/y"), "0" * 40, (item,), tmp_path / "out")


@pytest.mark.parametrize("name", ["hub-manifest.json", ".hub-partial/x"])
def test_a_file_by_the_name_of_our_own_is_refused(tmp_path: Path, name: str) -> None:
    item = download.DownloadItem(client.RemoteFile(name, 1, "0" * 40, large=False), name)
    with pytest.raises(HubError, match="cannot be written below"):
        download.DownloadPlan(client.Repository("x/y"), "0" * 40, (item,), tmp_path)


def test_a_folder_of_another_repository_is_left_alone(bench: Bench) -> None:
    bench.hub.add("tester/other", {"global_step1/a.pt": b"mine", "latest": b"global_step1"})
    assert bench.run("pull", RUN, "--repo", "tester/other").code == 0
    ended = bench.run("pull", RUN)
    assert (
        ended.code == 1
        and f"error: {RUN} holds files of tester/other; name another folder with --out" in ended.err
    )


def test_files_of_others_are_named_and_kept(bench: Bench) -> None:
    out = bench.home / "mine"
    (out / "global_step21553").mkdir(parents=True)
    (out / "latest").write_text("global_step7")
    (out / "global_step21553" / "layer_01.pt").symlink_to(bench.home / "elsewhere")
    (out / "global_step21553" / "empty.pt").touch()  # the Hub's bytes, whoever wrote them
    for option in ("--json", "--dry-run"):
        ended = bench.run("pull", RUN, "--out", "mine", option)
        assert ended.code == 1 and ended.out == "" and ended.err.count("\n") == 1
        names = "global_step21553/layer_01.pt, latest"
        assert f"error: mine holds other files of the names {names}; name another" in ended.err
        assert "--force" in ended.err and (out / "latest").read_text() == "global_step7"
    assert not bench.hub.asked("GET", "/resolve/")
    assert bench.run("pull", RUN, "--out", "mine", "--force").code == 0
    assert brought(out) == CHECKPOINT and not (bench.home / "elsewhere").exists()


def test_files_of_an_earlier_pull_are_replaced_unasked(bench: Bench) -> None:
    first = bench.hub.repos[REPO].head
    assert bench.run("pull", RUN).code == 0
    bench.hub.add(REPO, {BIG: b"changed since"})
    assert bench.run("pull", RUN).code == 0
    assert (bench.home / BIG).read_bytes() == b"changed since"
    # a pull that was killed has no manifest yet, but notes of what it put in place
    shutil.rmtree(bench.home / RUN)
    bench.hub.fault("GET", "/cdn/", 404, 1)
    assert bench.run("pull", RUN, "--revision", first, "--jobs", "1").code == 1
    assert not (bench.home / RUN / download.MANIFEST).exists()
    bench.hub.add(REPO, {f"{RUN}/latest": b"global_step21554", f"{STEP}/empty.pt": b"x"})
    assert bench.run("pull", RUN).code == 0
    assert (bench.home / STEP / "empty.pt").read_bytes() == b"x"


def test_a_bin_of_others_is_not_taken_for_a_stale_join(bench: Bench) -> None:
    add_dataset(bench)
    (bench.home / "data").mkdir()
    whole = bench.home / "data" / f"{PREFIX}.bin"
    whole.write_bytes(b"mine")
    pull = ("pull", "c4-subsets/gpt2tok_c4_en_1B9", "--out", "data")
    ended = bench.run(*pull)
    assert ended.code == 1 and f"{PREFIX}.bin; name another" in ended.err
    assert whole.read_bytes() == b"mine"
    assert bench.run(*pull, "--force").code == 0 and whole.read_bytes() == b"".join(PARTS)


def test_a_full_disk_is_told_before_anything_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = download.DownloadItem(client.RemoteFile("a", 10_000_000_000, "0" * 64, large=True), "a")
    order = download.DownloadPlan(
        client.Repository("x/y"), "0" * 40, (item,), tmp_path / "new" / "out"
    )
    usage = shutil.disk_usage(tmp_path)._replace(free=9_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(
        OutputError, match="out needs 10,000,000,000 bytes more, 8,932,891,136 are free"
    ):
        download.check_disk(order, [item])
    partial = tmp_path / "new" / "out" / ".hub-partial" / download._partial_name(item)
    partial.parent.mkdir(parents=True)
    with open(partial, "wb") as handle:
        handle.truncate(2_000_000_000)  # what came before needs no room again
    download.check_disk(order, [item])
    with pytest.raises(OutputError):
        download.check_disk(order, [item], extra_bytes=10_000_000_000)


def test_two_pulls_into_one_folder_do_not_meet(bench: Bench) -> None:
    from encore import files

    with files.exclusive(bench.home / RUN / download.MANIFEST):
        ended = bench.run("pull", RUN)
    assert ended.code == 1 and "is being written by another run" in ended.err


def test_a_file_in_xet_storage_comes_by_the_librarys_own_way(bench: Bench) -> None:
    """The hub here has no Xet, so the library downloads plainly; its file is verified as well."""
    bench.hub.in_xet = {BIG}
    bench.hub.fault("GET", "/cdn/", "wrong")
    environment = {k: v for k, v in bench.environment.items() if k != "HF_HUB_DISABLE_XET"}
    command = [sys.executable, str(ROOT / "tools" / "hub.py"), "pull", RUN]
    ended = subprocess.run(
        command, cwd=bench.home, env=environment, check=False, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert brought(bench.home / RUN) == CHECKPOINT and bench.hub.asked(
        "HEAD", "/resolve/.*layer_01"
    )
    assert [path.name for path in (bench.home / RUN).iterdir() if path.name.startswith(".")] == []


# data sets

PREFIX = "gpt2tok_c4_en_1B9_text_document"
PARTS = [some_bytes(20 + i, 400_000 + i) for i in range(4)]
DATASET = {f"{PREFIX}.bin.a{'abcd'[i]}": part for i, part in enumerate(PARTS)} | {
    "gpt2tok_c4_en_2B_text_document.idx": b"x"
}


def add_dataset(bench: Bench) -> None:
    bench.hub.add("datablations/c4-subsets", DATASET, "dataset")


def test_the_parts_of_a_data_set_are_joined(bench: Bench) -> None:
    add_dataset(bench)
    ended = bench.run("pull", "c4-subsets/gpt2tok_c4_en_1B9", "--out", "data")
    assert ended.code == 0 and f"data/{PREFIX}.bin: joined, 1,600,006 bytes" in ended.err
    found = brought(bench.home / "data")
    assert found.pop(f"{PREFIX}.bin") == b"".join(PARTS)
    assert found == {name: data for name, data in DATASET.items() if "1B9" in name}


def test_joined_parts_that_were_removed_do_not_come_again(bench: Bench) -> None:
    add_dataset(bench)
    pull = ("pull", "c4-subsets/gpt2tok_c4_en_1B9", "--remove-parts", "--json")
    bench.run(*pull)
    assert brought(bench.home / "c4-subsets") == {f"{PREFIX}.bin": b"".join(PARTS)}
    again = bench.run(*pull)
    assert again.code == 0 and not any(row["taken"] for row in json.loads(again.out))


def test_a_whole_that_was_joined_from_other_parts_is_made_anew(bench: Bench) -> None:
    add_dataset(bench)
    bench.run("pull", "c4-subsets/gpt2tok_c4_en_1B9", "--remove-parts")
    changed = some_bytes(99, len(PARTS[2]))
    bench.hub.add("datablations/c4-subsets", {f"{PREFIX}.bin.ac": changed})
    assert bench.run("pull", "c4-subsets/gpt2tok_c4_en_1B9").code == 0
    whole = brought(bench.home / "c4-subsets")[f"{PREFIX}.bin"]
    assert whole == b"".join([*PARTS[:2], changed, PARTS[3]])


def test_parts_that_cannot_be_joined_are_refused_before_they_are_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as without numpy, which other tests of this process may have imported with the module
    monkeypatch.setitem(sys.modules, "encore.tokens.split_join", None)
    monkeypatch.delattr("encore.tokens.split_join", raising=False)
    items = []
    for suffix in ("aa", "ab"):
        file = client.RemoteFile(f"p.bin.{suffix}", 1, "0" * 64, large=True)
        items.append(download.DownloadItem(file, file.path))
    plan = download.DownloadPlan(client.Repository("x/y"), "0" * 40, tuple(items), tmp_path)
    with pytest.raises(EncoreError, match="joining them needs") as caught:
        pull.pull(plan)
    assert caught.value.hint.endswith("pip install -e '.[data]'")


def test_a_wrong_prefix_lists_the_nearest(bench: Bench) -> None:
    add_dataset(bench)
    ended = bench.run("pull", "c4-subsets/gpt2tok_c4_en_1B8")
    assert ended.code == 1 and f"has no files gpt2tok_c4_en_1B8; nearest: {PREFIX}" in ended.err


# kills


def pull_or_kill(bench: Bench, random: Random, usual_s: float, *argv: str) -> Ended:
    return bench.run(*argv, signal=signal.SIGKILL, after_s=random.uniform(0, usual_s))


def kill_often(
    bench: Bench, kills: int, argv: tuple[str, ...], folder: Path, right: dict[str, bytes]
) -> int:
    """Run and kill; compare and start over whenever a run ends by itself.

    Returns the number of kills that came in time.
    """
    random, killed = Random(4), 0
    bench.hub.pace_s = 0.003
    usual_s = bench.run(*argv).seconds
    first = below(folder)
    assert {name: first[name] for name in right} == right
    shutil.rmtree(folder)
    while killed < kills:
        ended = pull_or_kill(bench, random, usual_s, *argv)
        found = below(folder) if folder.exists() else {}
        whole = {name: data for name, data in found.items() if name in right}
        assert whole == {
            name: right[name] for name in whole
        }  # never half a file under its own name
        if ended.code == -signal.SIGKILL:
            killed += 1
            continue
        assert ended.code == 0, ended.err
        assert found == first
        shutil.rmtree(folder)
    bench.hub.pace_s = 0.0
    assert bench.run(*argv).code == 0
    assert below(folder) == first
    return killed


@pytest.mark.slow
def test_a_hundred_kills_end_in_the_same_bytes(bench: Bench) -> None:
    assert kill_often(bench, 100, ("pull", RUN, "--jobs", "2"), bench.home / RUN, CHECKPOINT) == 100


@pytest.mark.slow
def test_kills_between_download_and_join_end_in_the_same_bytes(bench: Bench) -> None:
    add_dataset(bench)
    argv = ("pull", "c4-subsets/gpt2tok_c4_en_1B9", "--remove-parts")
    right = {f"{PREFIX}.bin": b"".join(PARTS)}
    assert kill_often(bench, 30, argv, bench.home / "c4-subsets", right) == 30


def test_an_interrupt_ends_in_one_line(bench: Bench) -> None:
    bench.hub.pace_s = 0.2
    ended = bench.run("pull", RUN, signal=signal.SIGINT, after_s=1.0)
    assert ended.code == 130 and ended.err.strip() == "interrupted"
    bench.hub.pace_s = 0.0
    assert bench.run("pull", RUN).code == 0 and brought(bench.home / RUN) == CHECKPOINT
