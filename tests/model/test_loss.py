"""The projected cross-entropy is torch's cross-entropy of the logits, whatever the chunks."""

import pytest
import torch
from encore.model import loss
from encore.model.loss import ProjectedCrossEntropy
from torch.nn import functional


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("chunk", [1, 7, 64, 100, 1000])
def test_loss_and_gradients_are_torchs(
    dtype: torch.dtype, tolerance: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loss._CHUNK_TOKENS, "cpu", chunk)
    torch.manual_seed(0)
    hidden, weight = (
        torch.randn(100, 16).to(dtype).requires_grad_(),
        torch.randn(50, 16).to(dtype).requires_grad_(),
    )
    labels = torch.randint(0, 50, (100,))
    found = ProjectedCrossEntropy.apply(hidden, weight, labels)
    expected = functional.cross_entropy((hidden.float() @ weight.float().t()), labels)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(
        expected.item(), rel=tolerance
    )
    expected_gradients = torch.autograd.grad(expected * 3, (hidden, weight))
    for ours, theirs in zip(
        torch.autograd.grad(found * 3, (hidden, weight)), expected_gradients, strict=True
    ):
        assert ours.dtype == dtype
        assert torch.allclose(
            ours.float(), theirs.float(), atol=tolerance * theirs.abs().max().item()
        )


def test_a_certain_prediction_costs_nothing_and_a_hopeless_one_is_finite() -> None:
    weight = torch.eye(4) * 500
    hidden = torch.eye(4).requires_grad_()
    right = ProjectedCrossEntropy.apply(hidden, weight, torch.arange(4))
    wrong = ProjectedCrossEntropy.apply(hidden, weight, torch.arange(4).roll(1))
    assert right.item() == 0 and wrong.item() == pytest.approx(500)


def test_without_gradients_only_the_loss_is_made() -> None:
    with torch.no_grad():
        value = ProjectedCrossEntropy.apply(
            torch.ones(3, 2), torch.ones(5, 2), torch.zeros(3, dtype=torch.long)
        )
    assert value.item() == pytest.approx(torch.log(torch.tensor(5.0)).item())
