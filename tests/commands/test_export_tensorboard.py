"""The command: what it writes, what it says, and how it refuses."""

import contextlib
import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import export_tensorboard
import pyarrow.parquet
import pytest
from encore import cli
from encore.errors import DataError, UnknownNameError, UsageError
from helpers.event_files import GENUINE, write_scalars
from helpers.hub_bench import Bench

TOOL = Path(__file__).resolve().parents[2] / "tools" / "export_tensorboard.py"
LOSS = "lm-loss-training/lm loss"


def export(*arguments: object) -> int:
    return export_tensorboard.main([str(argument) for argument in arguments])


@pytest.mark.slow
def test_each_ending_is_written_whole_and_again_the_same(tmp_path: Path) -> None:
    tables = [tmp_path / "new" / name for name in ("a.csv", "a.parquet", "a.jsonl", "a.html")]
    pictures = [tmp_path / "new" / name for name in ("a.png", "a.svg", "a.pdf")]

    def write() -> None:
        assert (
            export(GENUINE, "--out", *tables)
            == export(GENUINE, "--tags", f"{LOSS}*", "--out", *pictures)
            == 0
        )

    write()
    first = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert set(first) == {path.name for path in (*tables, *pictures)}
    write()
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == first
    assert (
        first["a.png"][:4] == b"\x89PNG"
        and b"<svg" in first["a.svg"]
        and first["a.pdf"][:4] == b"%PDF"
    )
    rows = list(csv.DictReader((tmp_path / "new" / "a.csv").read_text().splitlines()))
    assert (
        len(rows)
        == pyarrow.parquet.read_metadata(tables[1]).num_rows
        == len(first["a.jsonl"].splitlines())
        == 224
    )
    assert list(rows[0]) == ["run", "tag", "step", "samples", "tokens", "wall_time", "value"]


def test_without_out_the_table_goes_to_stdout_and_talk_does_not() -> None:
    command = [sys.executable, TOOL, GENUINE, "--tags", LOSS]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = list(csv.DictReader(ended.stdout.splitlines()))
    assert [(row["run"], row["tag"]) for row in rows] == [("tp1", LOSS)] * 20
    # the run was resumed, and so wrote two steps again
    assert ended.stderr.startswith("warning: tp1: 2 values are left out")
    assert ended.stderr.count("\n") == 1
    assert (rows[0]["step"], rows[0]["samples"], rows[0]["tokens"]) == ("1", "8", "512")


def test_several_runs_are_compared_in_one_picture_along_any_axis(tmp_path: Path) -> None:
    for name in ("one", "_two $\\x$"):
        rows = [(1e9 + s, s, tag, 5 / s) for s in range(1, 60) for tag in ("loss $x^2$", "norm")]
        write_scalars(tmp_path / name / "events.out.tfevents.1.h", rows)
    options = ("--smoothing", 0.6, "--log-y", "--x")
    for axis in ("steps", "hours"):
        assert export(tmp_path, "--out", tmp_path / f"{axis}.png", *options, axis) == 0
    pictures = {(tmp_path / f"{axis}.png").read_bytes() for axis in ("steps", "hours")}
    assert len(pictures) == 2


def test_raw_leaves_every_tag_as_it_was_written(tmp_path: Path) -> None:
    assert export(GENUINE, "--raw", "--tags", f"{LOSS}*", "--out", tmp_path / "a.jsonl") == 0
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert len({row["tag"] for row in rows}) == 4
    assert [row["step"] for row in rows if row["tag"] == f"{LOSS} vs tokens"] == list(
        range(512, 10241, 512)
    )


def test_a_damaged_file_is_read_up_to_the_damage_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (genuine,) = GENUINE.iterdir()
    (tmp_path / "run").mkdir()
    damaged = tmp_path / "run" / genuine.name
    content = bytearray(genuine.read_bytes())
    content[60_000] ^= 1
    damaged.write_bytes(content)
    assert export(tmp_path / "run", "--out", tmp_path / "a.csv") == 0
    warning, result = capsys.readouterr().err.splitlines()
    reason = "a record does not match its checksum at byte 59,"
    assert warning.startswith(f"warning: {damaged}: {reason}")
    assert warning.endswith("everything before it was read")
    assert result.startswith("wrote ")
    assert 50 < len((tmp_path / "a.csv").read_text().splitlines()) < 225


def test_values_that_others_replace_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scalars = [(1.0 + i, 0, "loss", 2.0) for i in range(5)] + [(1.0, 1, "other", 1.0)]
    write_scalars(tmp_path / "run" / "events.out.tfevents.1.h", scalars)
    write_scalars(tmp_path / "run" / "events.out.tfevents.2.h", scalars[-1:])
    assert export(tmp_path / "run", "--out", tmp_path / "a.csv") == 0
    warning, _ = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: run: 5 values are left out, as others")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("axis", ["tokens", "samples"])
@pytest.mark.parametrize("name", ["x.png", "x.html"])
def test_nothing_is_drawn_along_an_axis_of_which_nothing_is_known(
    tmp_path: Path, axis: str, name: str
) -> None:
    write_scalars(tmp_path / "run" / "events.out.tfevents.1.h", [(1.0, 1, "loss", 2.0)])
    with pytest.raises(DataError, match=f"no {axis} are known") as caught:
        export(tmp_path / "run", "--x", axis, "--out", tmp_path / name)
    assert caught.value.hint == "draw along steps: --x steps"
    assert not (tmp_path / name).exists()


def test_of_several_runs_one_that_cannot_be_read_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scalars(tmp_path / "good" / "events.out.tfevents.1.h", [(1.0, 1, "loss", 2.0)])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "events.out.tfevents.1.h").write_bytes(b"\0" * 100)
    assert export(tmp_path, "--out", tmp_path / "a.csv") == 1
    warning, _ = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {tmp_path / 'bad'} holds no scalars")
    assert warning.endswith("; skipped")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 2


def test_a_run_of_which_nothing_can_be_read_fails_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.h").write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match=r"holds no scalars.*no record begins at byte 0"):
        export(tmp_path, "--out", tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_wrong_usage_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write a\.xlsx"):
        export("missing", "--out", "a.xlsx")
    with pytest.raises(UnknownNameError, match="lm-lss"):
        export(GENUINE, "--tags", "lm-lss", "--out", tmp_path / "a.csv")
    for arguments in (
        (GENUINE, "--smoothing", "1"),
        (GENUINE, "--smoothing", "x"),
        (GENUINE, "--x", "epochs"),
        (GENUINE, "--unique-tokens", "0"),
        (GENUINE, "--unique-tokens", "many"),
        (GENUINE, "--losses", "--tags", LOSS),
        (),
    ):
        with pytest.raises(SystemExit) as ended:
            export(*arguments)
        assert ended.value.code == 2
    assert list(tmp_path.iterdir()) == []


def test_more_panels_than_fit_are_refused(tmp_path: Path) -> None:
    write_scalars(tmp_path / "events.out.tfevents.1.h", [(1.0, 1, f"t{i}", 1.0) for i in range(40)])
    with pytest.raises(UsageError, match="40 tags do not fit"):
        export(tmp_path, "--out", tmp_path / "a.png")
    assert export(tmp_path, "--tags", "t1*", "--out", tmp_path / "a.png") == 0


def test_losses_are_one_picture_along_tokens_with_epochs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "loss.svg"
    options = ("--losses", "--x", "tokens", "--unique-tokens", "3k", "--out", picture)
    assert export(GENUINE, *options) == 0
    svg = picture.read_text(encoding="utf-8")
    for text in ("tp1", "training", "valid", "loss (nats per token)"):
        assert f"<!-- {text} -->" in svg
    assert svg.count("stroke: #cccccc") == 3
    assert f"\nwrote {picture}" in capsys.readouterr().err
    assert export(GENUINE, *options, "--title", "a title") == 0
    assert "<!-- a title -->" in picture.read_text(encoding="utf-8")


def test_losses_alone_are_exported(tmp_path: Path) -> None:
    assert export(GENUINE, "--losses", "--out", tmp_path / "a.csv") == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert {row["tag"] for row in rows} == {LOSS, "lm-loss-validation/valid/lm loss validation"}
    write_scalars(tmp_path / "run" / "events.out.tfevents.1.h", [(1.0, 1, "norm", 2.0)])
    with pytest.raises(DataError, match="lm-loss-training"):
        export(tmp_path / "run", "--losses", "--out", tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


def test_unique_tokens_are_refused_where_they_would_draw_nothing(tmp_path: Path) -> None:
    for outputs in ((), ("--out", tmp_path / "a.csv")):
        with pytest.raises(UsageError, match="for pictures and pages"):
            export(GENUINE, "--unique-tokens", "3k", *outputs)
    with pytest.raises(UsageError, match="drawn along steps"):
        export(GENUINE, "--unique-tokens", "3k", "--out", tmp_path / "a.html", tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_push_sends_a_runs_event_files_to_its_repository(hub_bench: Bench) -> None:
    folder = hub_bench.home / "tensorboard_146m14b400m"
    write_scalars(folder / "events.out.tfevents.1.h", [(1.0, 1, "loss", 2.0)])
    (folder / "notes.txt").write_text("stays here")
    command = [sys.executable, TOOL, folder, "--push"]

    def push(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *options],
            check=False,
            capture_output=True,
            text=True,
            env=hub_bench.environment,
        )

    refused = push()
    assert refused.returncode == 1 and "--create" in refused.stderr, refused.stderr
    ended = push("--create", "--private")
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    sent = hub_bench.hub.repos["tester/146m14b400m"].files
    assert set(sent) == {"README.md", "events.out.tfevents.1.h"}
    assert sent["events.out.tfevents.1.h"] == (folder / "events.out.tfevents.1.h").read_bytes()


def test_where_to_push_is_refused_without_push_and_for_several_runs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_scalars(tmp_path / name / "events.out.tfevents.1.h", [(1.0, 1, "loss", 2.0)])
    with pytest.raises(UsageError, match="say where --push sends"):
        export(tmp_path, "--create")
    with pytest.raises(UsageError, match="one repository for 2 runs"):
        export(tmp_path, "--push", "--repo", "me/one")


class Terminal(io.TextIOWrapper):
    """What a terminal is to print."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "shown"), [(Terminal, b"\\u001b[2J"), (io.TextIOWrapper, b"\x1b[2J")]
)
def test_a_tag_commands_no_terminal_and_stays_as_it_is_in_a_file(
    tmp_path: Path, stream: type[io.TextIOWrapper], shown: bytes
) -> None:
    (tmp_path / "run").mkdir()
    write_scalars(tmp_path / "run" / "events.out.tfevents.1.host", [(1.0, 1, "\x1b[2J", 2.0)])
    out = stream(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        cli.run(lambda: export_tensorboard.main([str(tmp_path / "run"), "--raw"]))
    assert ended.value.code == 0
    assert shown in out.buffer.getvalue()  # type: ignore[attr-defined]
