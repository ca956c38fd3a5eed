"""Amounts, sizes, times and tables are read and written as people do."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
from encore import human
from hypothesis import given
from hypothesis import strategies as st


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


@pytest.mark.parametrize("read", [human.amount, human.size, human.integer])
@pytest.mark.parametrize("text", ["9" * 400, "9" * 5000, "9223372036854775808", "٣", "1e999"])
def test_a_count_that_no_file_holds_is_refused(read: Callable[[str], int], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        read(text)


@pytest.mark.parametrize("read", [human.amount, human.size, human.integer])
def test_large_counts_keep_all_their_digits(read: Callable[[str], int]) -> None:
    assert read("9_007_199_254_740_993") == 2**53 + 1


def test_a_path_is_not_empty_and_its_user_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert human.path("~/x") == Path("/home/me/x")
    assert human.path("./~/x") == Path("~/x")
    for text in ("", "~nosuchuser/x"):
        with pytest.raises(argparse.ArgumentTypeError):
            human.path(text)


def test_a_count_is_at_least_one() -> None:
    assert human.count("1k") == 1000
    with pytest.raises(argparse.ArgumentTypeError, match="'0' is less than 1"):
        human.count("0")


def test_an_empty_name_is_refused() -> None:
    assert human.name("gpt2") == "gpt2"
    for text in ("", " "):
        with pytest.raises(argparse.ArgumentTypeError, match="an empty name"):
            human.name(text)


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


@pytest.mark.parametrize("text", ["10", "0s", "0.5s", "-1m", "m", "1w", "1 m", "", f"{10**400}h"])
def test_what_is_not_an_interval_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 30s, 10m or 1h"):
        human.interval(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1.5GiB", 3 << 29), ("500MB", 500_000_000), ("4 KiB", 4096), ("7", 7), ("7B", 7)],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert human.size(text) == count


@pytest.mark.parametrize("text", ["", "-1", "GiB", "1XB", "1.5.2", "nan", "1 000"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write 4GiB"):
        human.size(text)


@given(st.integers(0, 10**18))
def test_a_plain_number_is_itself(count: int) -> None:
    assert abs(human.amount(str(count)) - count) <= count * 2**-52


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("60", 60), ("0.5", 0.5), ("1e3", 1000)])
def test_numbers_are_read(text: str, value: float) -> None:
    assert human.number(text) == value


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "-inf", "", "many", "1e999"])
def test_what_no_comparison_would_stop_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="0 or more"):
        human.number(text)


def test_a_cell_of_a_table_is_one_line_without_control_characters() -> None:
    shown = human.table([("a\nb", "c\x1b[31m"), ("d", "e")])
    assert shown == "a\\nb  c\\u001b[31m\nd     e"


@given(st.text())
def test_printable_text_has_no_control_character_and_stays_as_it_is(text: str) -> None:
    shown = human.printable(text)
    assert human.printable(shown) == shown
    assert not any(ord(c) < 32 and c not in "\t\n" for c in shown)


@given(st.integers(0, 2**63 - 1))
def test_every_count_of_64_bits_is_exact(count: int) -> None:
    assert human.amount(str(count)) == human.integer(str(count)) == human.size(str(count)) == count


@pytest.mark.parametrize(
    "read", [human.amount, human.integer, human.number, human.size, human.interval]
)
@pytest.mark.parametrize(
    "text",
    [
        "1e999",
        "1e99999999999999999999",
        "9" * 400,
        "9" * 5000,
        "9" * 400 + "s",
        "1" + "0" * 30,
        "nan",
        "-1",
        "inf",
        "",
        " ",
        "١",
        "²",
        "1\n2",
    ],
)
def test_a_number_that_nothing_can_hold_is_refused(read: Callable[[str], float], text: str) -> None:
    if (read is human.number and text == "1" + "0" * 30) or (
        read is human.integer and text == "-1"
    ):
        return
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        read(text)
    assert len(str(raised.value)) < 150
