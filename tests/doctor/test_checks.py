"""The doctor's checks of this machine, on real files and commands that are really missing."""

import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from encore import hub_library
from encore.doctor import checks
from encore.errors import DataError
from encore.findings import Finding
from encore.images import record
from encore.jobs import render
from encore.plan import resolve
from encore.plan.records import Plan, Request
from encore.plan.user_config import UserConfig
from encore.tokens import verify
from encore.tokens.indexed import IndexedWriter
from encore.tokens.manifest import Manifest
from helpers.hub_server import TOKEN, running
from helpers.manifests import BROKEN, manifest_of
from helpers.megatron_models import write_counters


def plan(workspace: Path, cluster: str = "local", name: str = "500k500k100k") -> Plan:
    return resolve.resolve(Request(name, cluster, workspace=str(workspace)), UserConfig())


def write_data(found: Plan) -> None:
    for prefix in found.data.prefixes:
        path = Path(found.paths.data) / prefix
        path.parent.mkdir(parents=True, exist_ok=True)
        with IndexedWriter(path, np.dtype("uint16")) as writer:
            writer.add_batch(np.arange(30, dtype=np.uint16), np.array([10, 20]))


def test_data_that_is_there_is_right(tmp_path: Path) -> None:
    found = plan(tmp_path)
    write_data(found)
    findings = checks.data(found)
    assert [finding.right for finding in findings] == [True, True]
    assert "30 tokens in 2 documents" in findings[0].seen


def test_missing_and_truncated_data_are_wrong_and_say_so(tmp_path: Path) -> None:
    found = plan(tmp_path)
    assert all(
        finding.right is False and "does not exist" in finding.seen
        for finding in checks.data(found)
    )
    write_data(found)
    index = Path(f"{found.paths.data}/{found.data.prefixes[0]}.idx")
    index.write_bytes(index.read_bytes()[:-8])
    assert [finding.right for finding in checks.data(found)] == [False, True]


def test_data_that_is_not_what_its_manifest_says_is_wrong(tmp_path: Path) -> None:
    found, prefix = with_manifest(tmp_path)
    manifest = Manifest.read(prefix)
    assert manifest
    dataclasses.replace(manifest, tokens=31).write(prefix)
    bad, good = checks.data(found)
    assert (bad.right, good.right) == (False, True)
    assert "tokens 31 (here 30)" in bad.seen


def with_manifest(workspace: Path) -> tuple[Plan, Path]:
    """A plan whose data exists, and the first pair's prefix, which has a manifest."""
    found = plan(workspace)
    write_data(found)
    prefix = Path(found.paths.data) / found.data.prefixes[0]
    manifest_of(prefix, 2, 30)
    return found, prefix


def test_data_that_its_manifest_describes_is_right(tmp_path: Path) -> None:
    found, _ = with_manifest(tmp_path)
    finding = checks.data(found)[0]
    assert (finding.right, finding.seen) == (True, "30 tokens in 2 documents")


@pytest.mark.parametrize(("content", "reason"), BROKEN)
def test_a_manifest_that_is_none_is_a_finding_with_the_reason_that_verify_gives(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    found, prefix = with_manifest(tmp_path)
    Manifest.path(prefix).write_bytes(content)
    bad, good = checks.data(found)
    assert (bad.right, good.right) == (False, True)
    assert reason in bad.seen
    assert "tokenize again" in bad.advice
    findings = {finding.what: finding for finding in verify.verify(prefix)}
    assert findings["manifest"].seen == bad.seen
    assert findings["manifest"].advice == bad.advice


def test_a_folder_in_the_place_of_a_manifest_is_a_finding(tmp_path: Path) -> None:
    found, prefix = with_manifest(tmp_path)
    Manifest.path(prefix).unlink()
    Manifest.path(prefix).mkdir()
    bad = checks.data(found)[0]
    assert bad.right is False
    assert "is a folder, not a file" in bad.seen


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_manifest_that_may_not_be_read_is_a_finding(tmp_path: Path) -> None:
    found, prefix = with_manifest(tmp_path)
    Manifest.path(prefix).chmod(0)
    bad = checks.data(found)[0]
    assert bad.right is False
    assert "cannot be read: Permission denied" in bad.seen


def test_another_dtype_than_the_manifests_is_a_finding(tmp_path: Path) -> None:
    found, prefix = with_manifest(tmp_path)
    manifest = Manifest.read(prefix)
    assert manifest
    dataclasses.replace(manifest, dtype="int32").write(prefix)
    bad = checks.data(found)[0]
    assert bad.right is False
    assert "dtype int32 (here uint16)" in bad.seen


def test_a_tokenizer_is_known_by_its_hash(tmp_path: Path) -> None:
    found = plan(tmp_path, "cuda", "146m14b400m")
    folder = Path(found.paths.tokenizers) / "gpt2"
    folder.mkdir(parents=True)
    source = Path(__file__).parents[1] / "data" / "gpt2"
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((source / name).read_bytes())
    assert [finding.right for finding in checks.tokenizer(found)] == [True, True]
    (folder / "merges.txt").write_text("#version: 0.2\n")
    assert {f.what: f.right for f in checks.tokenizer(found)} == {
        "gpt2/vocab.json": True,
        "gpt2/merges.txt": False,
    }


def test_a_runtime_that_is_not_there_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = checks.runtime(plan(tmp_path, "cuda", "146m14b400m"))
    assert (finding.right, finding.seen) == (False, "not on this machine")


@pytest.mark.parametrize(
    ("says", "right"),
    [
        ("apptainer version 1.4.5", True),
        ("apptainer version 1.1.9-1.el8", False),
        ("singularity-ce version 4.1.3", True),
        ("singularity version 3.8.7", True),
        ("hello", False),
    ],
)
def test_a_runtime_is_judged_by_its_product_and_version(
    says: str, right: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "apptainer"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (finding,) = checks.runtime(plan(tmp_path, "cuda", "146m14b400m"))
    assert finding.right is right


def sif(architecture: bytes = b"02") -> bytes:
    """The head of an image file, all that is looked at but its hash."""
    return (
        b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0")
        + b"SIF_MAGIC\0"
        + b"01\0"
        + architecture
        + b"\0" * 80
    )


def place_image(found: Plan, content: bytes) -> Path:
    path = Path(str(render.image_path(found)))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_an_image_that_is_missing_names_the_command_that_builds_it(tmp_path: Path) -> None:
    (finding,) = checks.image(plan(tmp_path, "cuda", "146m14b400m"))
    assert finding.right is False and "encore-cuda.sif is missing" in finding.seen
    assert finding.advice == f"tools/build_image.py cuda --out {tmp_path}/images"
    assert checks.image(plan(tmp_path)) == []


def test_an_image_is_known_by_its_digest(tmp_path: Path) -> None:
    found = plan(tmp_path, "cuda", "146m14b400m")
    path = place_image(found, sif())
    (finding,) = checks.image(found)
    assert finding.right is True and "names no digest for cuda yet" in finding.seen
    content = dict.fromkeys((field.name for field in dataclasses.fields(record.BuildRecord)), "")
    record.record_path(path).write_text(json.dumps(content | {"digest": "sha256:0"}))
    (finding,) = checks.image(found)
    assert (
        finding.right is False and "not the one that the record beside it describes" in finding.seen
    )


@pytest.mark.parametrize(
    ("content", "said"), [(sif(b"04"), "is for arm64"), (b"<html>", "is not a container image")]
)
def test_an_image_of_another_kind_is_one_wrong_finding(
    content: bytes, said: str, tmp_path: Path
) -> None:
    found = plan(tmp_path, "cuda", "146m14b400m")
    place_image(found, content)
    wrong = [
        f for f in checks.examine(found, skip=("hub", "queue", "runtime")) if f.what == "image"
    ]
    assert [(f.right, said in f.seen) for f in wrong] == [(False, True)]


@pytest.mark.parametrize(
    ("content", "right"), [(b"hsqs" + bytes(92), True), (sif(), False), (b"", False)]
)
def test_pyxis_wants_a_squashfs_file(content: bytes, right: bool, tmp_path: Path) -> None:
    found = plan(tmp_path, "cuda-pyxis", "146m14b400m")
    place_image(found, content)
    assert [finding.right for finding in checks.image(found)] == [right]


def test_slurm_that_is_not_there_is_one_wrong_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = checks.examine(plan(tmp_path, "cuda", "146m14b400m"), skip=("hub", "space"))
    (queue,) = [finding for finding in findings if finding.what == "queue"]
    assert queue.right is False and "sinfo is not on this machine" in queue.seen


def test_a_workspace_that_cannot_be_written_is_wrong(tmp_path: Path) -> None:
    (finding, *_) = checks.space(plan(Path("/proc/encore")))
    assert finding.right is False


def test_a_quota_of_lustre_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lustre's two commands answer as its manual shows; there is no Lustre on one machine."""
    (tmp_path / "stat").write_text("#!/bin/sh\necho lustre\n", encoding="utf-8")
    (tmp_path / "lfs").write_text(
        "#!/bin/sh\ncase $1 in\n"
        'project) echo "  4650 P $3" ;;\n'
        'quota) printf "%s\\n   1048576*  0 53687091200 -  1000  0 2000000 -\\n" "$5" ;;\nesac\n',
        encoding="utf-8",
    )
    for program in ("stat", "lfs"):
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    disk, inodes = checks.space(plan(tmp_path / "scratch" / "encore"))
    assert (disk.right, inodes.right) == (True, True)
    assert disk.seen.startswith(f"{51200 - 1} GiB free") and inodes.seen == "1999000 free"


def test_offline_the_hub_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_library.library().constants, "HF_HUB_OFFLINE", True)
    (finding,) = checks.hub(plan(tmp_path, "cuda", "146m14b400m"))
    assert finding.right is None


def hub_finding(url: str, monkeypatch: pytest.MonkeyPatch) -> Finding:
    """What the doctor finds about the Hub at `url`."""
    monkeypatch.setattr(hub_library.library().constants, "ENDPOINT", url)
    others = set(checks.CHECKS) - {"hub"}
    (finding,) = checks.examine(plan(Path("/w"), "cuda", "146m14b400m"), skip=others)
    return finding


def test_a_login_is_named_and_one_that_the_hub_refuses_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as server:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert hub_finding(server.url, monkeypatch) == Finding("hub", True, "logged in as tester")
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
        refused = hub_finding(server.url, monkeypatch)
        assert refused.right is False and "permission denied (401)" in refused.seen
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr(hub_library.library().constants, "HF_TOKEN_PATH", str(tmp_path / "no"))
        logged_out = hub_finding(server.url, monkeypatch)
        assert logged_out.right is False and "not logged in" in logged_out.seen
        assert "hf auth login" in refused.advice and "hf auth login" in logged_out.advice


def test_a_hub_that_accepts_and_never_answers_is_wrong_after_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_library, "PROBE_S", 0.2)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        finding = hub_finding(url, monkeypatch)
        # the library's own default is to wait forever
        assert time.monotonic() - start < 30
    assert finding.right is False and f"{url} does not answer" in finding.seen


def test_a_checkpoint_of_another_batch_is_found_before_the_job(tmp_path: Path) -> None:
    found = plan(tmp_path, "cuda", "146m14b400m")
    assert checks.resume(found) == []
    batch = found.training.global_batch_size
    for step, samples, right in ((3, 3 * batch, True), (6, 3 * batch, False)):
        write_counters(Path(found.paths.checkpoints), step, consumed_train_samples=samples)
        (finding,) = checks.resume(found)
        assert finding.right is right and f"global_step{step}" in finding.seen


@pytest.mark.parametrize("name", checks.CHECKS)
@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error", "/scratch"),
        subprocess.TimeoutExpired(["sinfo"], 30),
        KeyError("a bug"),
        DataError("a.bin is torn", "fetch it again"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_check_trips_over_is_a_finding_and_the_others_run(
    name: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Plan) -> list[Finding]:
        raise error

    for other in checks.CHECKS:
        monkeypatch.setitem(checks.CHECKS, other, lambda _, what=other: [Finding(what, True, "")])
    monkeypatch.setitem(checks.CHECKS, name, fail)
    monkeypatch.setattr(logging.getLogger("encore"), "propagate", True)
    with caplog.at_level(logging.DEBUG, "encore"):
        findings = checks.examine(plan(Path("/w")))
    assert [finding.what for finding in findings] == list(checks.CHECKS)
    (wrong,) = [finding for finding in findings if not finding.right]
    assert wrong.what == name and "\n" not in wrong.seen
    if isinstance(error, DataError):
        assert (wrong.seen, wrong.advice) == ("a.bin is torn", "fetch it again")
    else:
        assert type(error).__name__ in wrong.seen and str(error) in wrong.seen
        assert wrong.advice == f"leave it out with --skip {name}"
        assert "Traceback" in caplog.text


def test_without_an_extra_a_check_says_which_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cluster = plan(tmp_path, "cuda", "146m14b400m")
    for module in ("huggingface_hub", "encore.tokens.indexed"):
        monkeypatch.setitem(sys.modules, module, None)
    for check, extra in ((checks.hub, "hub"), (checks.data, "data")):
        (finding,) = check(on_cluster)
        assert finding.right is None and finding.seen.endswith(f"pip install -e '.[{extra}]'")
