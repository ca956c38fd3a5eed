"""The command as users type it: its JSON, its tables, what it refuses."""

import json
import shlex
from pathlib import Path

import fit_scaling as fit_scaling_command
import pytest
from encore.scaling import laws
from helpers.commands import run_command

QUICK = ("--replicates", "20")


def fit_scaling(*arguments: object) -> str:
    ended = run_command("fit_scaling", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_command_offers_every_law() -> None:
    assert set(fit_scaling_command.LAWS) == set(laws.LAWS)


def test_fit_prints_all_minima_with_their_parameters() -> None:
    answer = json.loads(fit_scaling("fit", "--published", *QUICK, "--json"))
    minima = answer["minima"]
    assert [one["huber"] for one in minima] == sorted(one["huber"] for one in minima)
    assert len(minima) == 5 and answer["runs"] == 182
    last = minima[-1]["parameters"]
    assert (last["R_D"], last["R_N"]) == pytest.approx((15.39, 5.31), rel=2e-3)
    assert set(answer["intervals"]) == {"R_D", "R_N"}
    assert {score["split"] for score in answer["cross_validation"]} >= {"5 folds", "many epochs"}
    assert len(answer["regrets"]["loss_above_best"]) == 5
    table = fit_scaling("fit", "--published", *QUICK)
    assert "What the choice changes at 1e+22 FLOPs" in table
    assert "R_D is unbounded above" in table and "15.3718" in table


def test_predictions_are_the_published_ones() -> None:
    options = ("--unique", "25e9", "--published", *QUICK, "--json")
    for params, tokens, loss in (("6.34e9", "242e9", 2.22564), ("8.67e9", "178e9", 2.22696)):
        answer = json.loads(
            fit_scaling("predict", "--params", params, "--tokens", tokens, *options)
        )
        assert answer["loss"] == pytest.approx(loss, abs=5e-6)
        assert answer["low"] < answer["loss"] < answer["high"]


def test_an_allocation_has_its_keys_and_a_name_that_renders() -> None:
    words = ("allocate", "--flops", "1e21", "--unique", "25e9", "--published", *QUICK)
    answer = json.loads(fit_scaling(*words, "--json"))
    assert {"parameters", "tokens", "epochs", "loss", "intervals", "sensitivity"} <= set(answer)
    assert 6 * answer["parameters"] * answer["tokens"] == pytest.approx(1e21)
    tool, *arguments = shlex.split(answer["render"])
    assert tool == "tools/render_sbatch.py"
    plan = run_command("render_sbatch", *arguments, "--dry-run", "--json")
    assert plan.returncode == 0, plan.stderr


@pytest.mark.slow
def test_a_picture_of_the_frontier(tmp_path: Path) -> None:
    for suffix in ("svg", "png"):
        target = tmp_path / f"frontier.{suffix}"
        fit_scaling("allocate", "--flops", "1e22", "--unique", "25e9", "--picture", target, *QUICK)
        assert target.stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize(
    "words,said",
    [
        (("epochs", "--params", "146e6", "--unique", "100e6", "--loss", "3.8"), "epochs"),
        (("unique", "--flops", "1e22", "--loss", "2.45"), "unique tokens"),
        (("value", "--flops", "1e22"), "parameters"),
        (("worth", "--unique", "25e9"), "worth less than 50% of a fresh one"),
    ],
)
def test_each_question_has_an_answer(words: tuple[str, ...], said: str) -> None:
    assert said in fit_scaling("ask", *words, *QUICK)
    assert json.loads(fit_scaling("ask", *words, *QUICK, "--json"))


def test_runs_of_a_user(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rows = ["params,tokens,unique_tokens,loss"]
    for params in (1e7, 3e7, 1e8):
        for tokens in (1e8, 4e8, 2e9):
            for unique in (1e8, 4e8):
                if unique <= tokens:
                    loss = 1.8 + 500 * params**-0.35 + 1500 * tokens**-0.35
                    rows.append(f"{params},{tokens},{unique},{loss}")
    path.write_text("\n".join(rows))
    answer = json.loads(fit_scaling("fit", path, "--law", "chinchilla", *QUICK, "--json"))
    best = answer["minima"][0]["parameters"]
    assert best["alpha"] == pytest.approx(0.35, abs=1e-3) and best["E"] == pytest.approx(1.8, 1e-3)


@pytest.mark.parametrize(
    "words,code,said",
    [
        (("fit", "absent.csv"), 1, "absent.csv"),
        (("fit", "--fix", "A"), 2, "write NAME=VALUE"),
        (("fit", "--fix", "A=nan"), 2, "write NAME=VALUE"),
        (("fit", "--fix", "Q=1"), 1, "has no 'Q'"),
        (("fit", "--law", "penalty", "--published"), 2, "--published is of --law repetition"),
        (("fit", "--folds", "1000", *QUICK), 1, "cannot make 1000 folds"),
        (("ask", "epochs"), 2, "needs --params and --unique and --loss"),
        (("ask", "worth", "--unique", "1e9", "--share", "2", *QUICK), 1, "not between 0 and 1"),
        (("ask", "worth", "--unique", "1e9", "--law", "penalty", *QUICK), 1, "no exponential"),
        (("predict", "--params", "0", "--tokens", "1", "--unique", "1"), 2, "not above 0"),
        (("allocate", "--flops", "nan", "--unique", "1"), 2, "is not a number"),
        (
            ("allocate", "--flops", "1e22", "--unique", "1e9", "--picture", "a.gif", *QUICK),
            2,
            "a picture ends in .svg, .pdf, .png",
        ),
        (
            ("design", "--params", "1e8", "--unique", "1e9", "--epochs", "2", "--factor", "1"),
            2,
            "has to be above 1",
        ),
        (
            ("design", "--params", "1e8", "--unique", "1e9", "--epochs", "2", "--target", "Q"),
            1,
            "Q is not free in this fit",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line_and_writes_nothing(
    words: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    ended = run_command("fit_scaling", *words, cwd=tmp_path)
    assert ended.returncode == code and said in ended.stderr
    assert "Traceback" not in ended.stderr and ended.stdout == ""
    assert list(tmp_path.iterdir()) == []
