"""Findings are one table of marks, with advice below what is wrong."""

from encore import findings
from encore.findings import Finding


def test_a_finding_is_a_line_and_a_wrong_one_says_what_to_do() -> None:
    some = [
        Finding("disk", True, "12 GiB free"),
        Finding("image", False, "missing", "tools/build_image.py cpu"),
        Finding("hub", None, "HF_HUB_OFFLINE is set", "unset it"),
    ]
    assert findings.table(some).splitlines() == [
        "✓  disk   12 GiB free",
        "✗  image  missing",
        "          → tools/build_image.py cpu",
        "–  hub    HF_HUB_OFFLINE is set",
    ]
    assert findings.wrong(some) == [some[1]]
