"""JSON of others is read in bounds, or is one line that says what is wrong."""

import os
from pathlib import Path

import pytest
from encore import strict_json
from encore.errors import DataError

HOSTILE = {
    "nothing": (b"", "Expecting value"),
    "depth": (b"[" * 100_000, "nested too deeply"),
    "depth of objects": (b'{"a":' * 100_000, "nested too deeply"),
    "infinity": (b'{"a": 1e999}', "the number 1e999 is too large"),
    "minus infinity": (b"-1e999", "too large"),
    "NaN": (b'{"a": NaN}', "NaN is not a number of JSON"),
    "400 digits": (b"1" * 400, "a number of 400 digits"),
    "5000 digits": (b"1" * 5000, "a number of 5000 digits"),
    "latin-1": (b'{"a": "\xe9"}', "not UTF-8 at byte 7"),
    "UTF-16": ("{}".encode("utf-16"), "not UTF-8 at byte 0"),
    "two values": (b"{} {}", "Extra data"),
    "a list": (b"[1]", "is not a JSON object"),
    "null": (b"null", "is not a JSON object"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_one_line_that_says_what_is_wrong(tmp_path: Path, name: str) -> None:
    content, reason = HOSTILE[name]
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        strict_json.read_object(path, DataError, "fetch it again", "--option")
    assert reason in str(raised.value) and "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"--option {path} ")
    assert raised.value.hint == "fetch it again"


def test_a_fifo_a_device_and_a_folder_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero"), tmp_path):
        with pytest.raises(DataError, match="not a file"):
            strict_json.read_object(path, DataError, "")


def test_an_endless_file_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict_json, "_MOST_BYTES", 9)
    (tmp_path / "x.json").write_bytes(b"[1234567]")
    assert strict_json.read(tmp_path / "x.json") == [1234567]
    (tmp_path / "x.json").write_bytes(b"[12345678]")
    with pytest.raises(ValueError, match="larger than 9 bytes"):
        strict_json.read(tmp_path / "x.json")


def test_what_is_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": [1, -2.5, 18446744073709551615, null]}')
    assert strict_json.read_object(tmp_path / "x.json", DataError, "") == {
        "a": [1, -2.5, 2**64 - 1, None]
    }
    with pytest.raises(DataError, match="does not exist"):
        strict_json.read_object(tmp_path / "y.json", DataError, "")
