"""encore.errors: what a name that is none says of those that are."""

from encore.errors import UnknownNameError, nearest

RUNS = [f"run{number:03d}" for number in range(300)]


def test_of_many_names_a_few_and_the_way_to_all_are_named() -> None:
    error = UnknownNameError("run", "zzz", RUNS, "tools/hub.py list --runs")
    assert str(error) == "unknown run 'zzz'"
    shown = ", ".join(RUNS[:5])
    assert error.hint == f"valid: {shown}, … (300 in all); see tools/hub.py list --runs"


def test_the_nearest_names_come_first_whatever_their_case() -> None:
    error = UnknownNameError("tag", "LM LOSS", [*RUNS, "lm loss", "Lm Loss"])
    assert error.hint == "valid: Lm Loss, lm loss, … (302 in all)"
    assert nearest("RUN_007", RUNS)[0] == "run007"
    assert len(nearest("run", RUNS)) <= 5
    assert nearest("", RUNS) == [] and nearest("run", []) == []


def test_a_few_names_are_all_named() -> None:
    assert UnknownNameError("image", "x", ["rocm", "cpu"], "registry/").hint == "valid: cpu, rocm"
    assert UnknownNameError("image", "x", []).hint == "valid: "
