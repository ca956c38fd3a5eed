"""What a launcher says of this process is read once, and checked."""

import pytest
from encore.errors import UsageError
from encore.train import launcher
from encore.train.launcher import ProcessPlace

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    assert launcher.place() == ProcessPlace(0, 1, 0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert launcher.place() == ProcessPlace(3, 4, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["abc", "", "1.5", "-1", "²", "1" * 30, "1" * 5000])
def test_what_names_no_process_is_one_line_with_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for other in NAMES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=name) as raised:
        launcher.place()
    assert len(str(raised.value)) < 200


def test_a_rank_outside_of_the_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(UsageError, match="RANK 2 is none of WORLD_SIZE 2"):
        launcher.place()


@pytest.mark.parametrize(
    ("address", "port"), [("", "29500"), ("127.0.0.1", "0"), ("127.0.0.1", "65536")]
)
def test_processes_that_cannot_meet_are_told_so(
    monkeypatch: pytest.MonkeyPatch, address: str, port: str
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    launcher.check_rendezvous()
    monkeypatch.setenv("MASTER_ADDR", address)
    monkeypatch.setenv("MASTER_PORT", port)
    with pytest.raises(UsageError, match="do not say where to meet"):
        launcher.check_rendezvous()
