"""Errors become one line and an exit code; bugs keep their traceback; data and talk are kept apart."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from encore import human

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def run_main(body: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(TOOLS)!r})\nfrom encore import cli, errors\n"
    code += f"def main():\n    {body}\ncli.run(main)"
    return subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)


def test_a_user_error_is_one_line_with_its_hint() -> None:
    ended = run_main("raise errors.DataError('a.jsonl:3: not JSON', 'mend that line')")
    assert (ended.returncode, ended.stdout, ended.stderr) == (
        1,
        "",
        "error: a.jsonl:3: not JSON; mend that line\n",
    )


def test_usage_errors_end_with_2() -> None:
    assert run_main("raise errors.UsageError('no', 'yes')").returncode == 2


def test_a_bug_keeps_its_traceback() -> None:
    ended = run_main("return 1 // 0")
    assert "Traceback" in ended.stderr and "ZeroDivisionError" in ended.stderr


def test_a_full_disk_and_a_missing_file_are_one_line() -> None:
    full = run_main("open('/dev/full', 'w').write('x' * 100000); return 0")
    missing = run_main("open('/nowhere/at/all'); return 0")
    for ended, word in ((full, "No space left"), (missing, "/nowhere/at/all")):
        assert ended.returncode == 1 and word in ended.stderr and "Traceback" not in ended.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = f"import sys; sys.path.insert(0, {str(TOOLS)!r})\nfrom encore import cli\n"
    code += "cli.run(lambda: [print('line') for _ in range(100000)] and 0)"
    ended = subprocess.run(
        f'{sys.executable} -c "$CODE" | head -n 1',
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        env={"CODE": code},
    )
    assert (ended.stdout, ended.stderr) == ("line\n", "")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1.9B", 1_900_000_000),
        ("400M", 400_000_000),
        ("12k", 12_000),
        ("1e6", 10**6),
        ("7", 7),
        ("1_000", 1000),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, count: int) -> None:
    assert human.amount(text) == count


@pytest.mark.parametrize("text", ["", "-1", "1.9X", "many", "1 B", "0x10", "nan", "1e", "._"])
def test_what_is_not_an_amount_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        human.amount(text)


def test_tables_align() -> None:
    assert human.table([("a", 1), ("bcd", 22)], ("x", "yy")) == "x    yy\na    1\nbcd  22"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (121_500_000_000, "113 GiB")]
)
def test_byte_sizes_are_in_powers_of_1024(count: int, text: str) -> None:
    assert human.byte_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(63.4, "63.4 s"), (720, "12 min"), (76_800, "21.3 h")]
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert human.duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("1.5h", 5400), ("2d", 172800), ("1s", 1)]
)
def test_intervals_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert human.interval(text) == seconds


@pytest.mark.parametrize("text", ["10", "0s", "0.5s", "-1m", "m", "1w", "1 m", ""])
def test_what_is_not_an_interval_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 30s, 10m or 1h"):
        human.interval(text)
