"""Files told by their names: kinds, steps, parts, and names that would leave the folder."""

import re

import pytest
from encore.errors import HubError, UsageError
from encore.hub import run_files
from hypothesis import given
from hypothesis import strategies as st

RUN = {
    "global_step21553/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt": "checkpoint",
    "latest": "checkpoint",
    "latest_checkpointed_iteration.txt": "checkpoint",
    "transformers/pytorch_model.bin": "transformers",
    "evaluation/rankeval/8b7178b25b_0.csv": "evaluation",
    "evaluation/generation/merged.json": "evaluation",
    "tensorboard_8b7178b88boscar/events.out.tfevents.1": "tensorboard",
    "tensorboard_8b7178b178boscar_val/x.csv": "tensorboard",
    "events.out.tfevents.16.nid005.1": "tensorboard",
    "logs/2079345.out": "logs",
    "1793404.err": "logs",
    "sbatch_146m14b400m.sh": "script",
    "README.md": "other",
    "sh": "other",
}
STEPS = [f"global_step{number}/a.pt" for number in (9, 10, 200)]


@pytest.mark.parametrize(("path", "kind"), RUN.items())
def test_a_name_tells_the_kind(path: str, kind: str) -> None:
    assert run_files.kind(path) == kind
    assert run_files.kind(f"146m14b400m/{path}") == kind


def test_steps_are_numbers_not_text() -> None:
    assert run_files.steps([*STEPS, "global_step7", "global_stepx/a", "a/global_step8/b"]) == [
        8,
        9,
        10,
        200,
    ]
    assert run_files.select_steps(STEPS, "latest") == [200]
    assert run_files.select_steps(STEPS, "all") == [9, 10, 200]
    assert run_files.select_steps(STEPS, "10") == [10]
    assert run_files.select_steps(STEPS[:1], None) == [9]
    assert run_files.select_steps([], None) == []


@pytest.mark.parametrize(
    ("asked", "what"),
    [(None, "there are 3 steps: 9, 10, 200"), ("11", "no step '11'"), ("x", "'x'")],
)
def test_a_step_that_is_open_or_absent_lists_the_steps(asked: str | None, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        run_files.select_steps(STEPS, asked)
    assert "200" in f"{caught.value}{caught.value.hint}" and "latest" in caught.value.hint


def test_a_step_without_checkpoints_is_refused() -> None:
    with pytest.raises(UsageError, match="--step selects checkpoints"):
        run_files.select(STEPS, ("logs",), "9")


def test_the_record_of_the_newest_comes_with_the_newest_alone() -> None:
    paths = [*STEPS, "latest", "logs/1.out"]
    assert run_files.select(paths, ("checkpoint",), "200") == [STEPS[2], "latest"]
    assert run_files.select(paths, ("checkpoint",), "9") == [STEPS[0]]
    assert run_files.select(["latest", "a.sh"], ("checkpoint",), None) == ["latest"]
    assert run_files.select(paths, ("logs",), None) == ["logs/1.out"]
    assert run_files.select(paths, run_files.KINDS, "all") == paths


def test_a_data_sets_prefix_takes_its_own_files_only() -> None:
    own = [
        "c4_1B9.bin",
        "c4_1B9.idx",
        "c4_1B9.bin.aa",
        "c4_1B9_text_document.bin.ab",
        "c4_1B9_content_document.idx",
    ]
    others = [
        "c4_1B95.bin",
        "c4_1B9_dedup_text_document.bin",
        "ac4_1B9.bin",
        "c4_1B9.binx",
        "x/c4_1B9.bin",
    ]
    assert run_files.dataset_files(own + others, "c4_1B9") == own
    assert run_files.dataset_files(["a/b.bin", "a/c/d", "ab"], "a") == ["a/b.bin", "a/c/d"]


def test_parts_are_in_the_order_that_split_made_them() -> None:
    names = [
        "d/p.bin.ab",
        "d/p.bin.aa",
        "d/p.bin.zaaa",
        "d/p.bin.yz",
        "d/p.idx",
        "q.bin",
        "r.bin.gz",
        "s.bin.01",
    ]
    assert run_files.part_groups(names) == {
        "d/p": ["d/p.bin.aa", "d/p.bin.ab", "d/p.bin.yz", "d/p.bin.zaaa"]
    }


HOSTILE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a//b",
    "./a",
    "a/.",
    "",
    "a\\..\\b",
    "C:/x",
    "a/\x00b",
    "a\nb",
    "a/",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_name_that_would_leave_is_refused(path: str) -> None:
    with pytest.raises(HubError, match="would leave the folder"):
        run_files.check_inside(path)


@given(
    st.lists(
        st.sampled_from(["..", ".", "", "a", "b c", "~", "..."]) | st.text(max_size=3),
        min_size=1,
        max_size=4,
    )
)
def test_a_name_that_passes_stays_inside(parts: list[str]) -> None:
    path = "/".join(parts)
    try:
        run_files.check_inside(path)
    except HubError:
        return
    assert (
        not re.search(r"(^|/)\.{0,2}(/|$)", path) and "\\" not in path and not path.startswith("/")
    )
