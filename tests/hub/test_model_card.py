"""The model card says what the plan says, and a loss only where one is known."""

from pathlib import Path

import pytest
import yaml
from encore.hub import model_card
from encore.plan import resolve
from encore.plan.records import Plan, Request
from encore.plan.user_config import UserConfig

TINY = Path(__file__).parents[1] / "data" / "megatron_tiny"


def resolved(name: str) -> Plan:
    return resolve.resolve(Request(name, "local"), UserConfig())


@pytest.mark.parametrize("name", ["146m14b400m", "2b855b11bc4", "4b284b84boscar", "500k500k100k"])
def test_the_card_is_the_plan(name: str, tmp_path: Path) -> None:
    plan = resolved(name)
    card = model_card.text(plan, tmp_path)
    _, head, body = card.split("---\n", 2)
    assert "encore" in yaml.safe_load(head)["tags"]
    assert yaml.safe_load(head).get("datasets") == (
        [plan.data.corpus.hub] if plan.data.corpus.hub else None
    )
    assert f"# {name}\n" in body and plan.command in body
    assert f"| licence of the corpus | {plan.data.corpus.licence} |" in body
    for number in (plan.parameters, plan.tokens, plan.unique_tokens, plan.training.steps):
        assert f"{number:,}" in body


def test_a_loss_that_nobody_knows_is_left_out(tmp_path: Path) -> None:
    plan = resolved("500k500k100k")
    assert "## Loss" not in model_card.text(plan, tmp_path)
    (tmp_path / "events.out.tfevents.1").write_bytes(b"not events")
    assert "## Loss" not in model_card.text(plan, tmp_path)


def test_a_published_loss_is_said_to_be_the_papers(tmp_path: Path) -> None:
    plan = resolved("146m14b400m")
    assert model_card.loss(plan, tmp_path) == [
        (
            "the paper's run of this name, nats per token",
            "3.390927, one of the losses that the paper's scaling law is fitted to",
        )
    ]


def test_a_measured_loss_is_the_events_last() -> None:
    plan = resolved("146m14b400m")
    assert model_card.loss(plan, TINY / "tp1") == [
        ("valid, nats per token at 10,240 tokens", "7.8956")
    ]
