"""The CPU's dropout and attention compute what torch's do."""

import pytest
import torch
from encore.model import cpu_kernels
from encore.model.cpu_kernels import CausalAttention, DropoutAdd, drop_mask
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9])
def test_the_mask_drops_its_share_and_keeps_the_expectation(probability: float) -> None:
    torch.manual_seed(0)
    mask, scale = drop_mask(torch.Size((501, 1003)), probability)
    share = mask.double().mean().item()
    deviation = (probability * (1 - probability) / mask.numel()) ** 0.5
    assert share == pytest.approx(probability, abs=5 * deviation + 1e-5)
    assert scale * (1 - probability) == pytest.approx(1, abs=1e-4)
    # four elements share a draw
    lanes = mask.flatten()[: 501 * 1003 // 4 * 4].view(-1, 4).double().mean(0)
    assert torch.allclose(lanes, torch.full((4,), probability, dtype=torch.float64), atol=0.01)


@examples(30)
@given(rows=st.integers(1, 3), length=st.integers(1, 200), channels=st.sampled_from([1, 8, 24]))
def test_attention_without_dropout_is_torchs(rows: int, length: int, channels: int) -> None:
    q, k, v = (draw(rows, length, channels, seed=seed) for seed in range(3))
    weight = draw(rows, length, channels, seed=3).detach()
    found = CausalAttention.apply(q, k, v, 0.0)
    expected = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(found, expected, atol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), (q, k, v)),
        torch.autograd.grad((expected * weight).sum(), (q, k, v)),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_the_gradients_with_dropout_are_those_of_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return CausalAttention.apply(q, k, v, 0.3)

    def dropout(x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return DropoutAdd.apply(x * 1.0, residual, 0.3)

    # two blocks of queries, the second of one row; gradcheck's time grows with the cube of it
    monkeypatch.setattr(cpu_kernels, "_QUERY_BLOCK", 8)
    assert torch.autograd.gradcheck(attention, [draw(1, 9, 3, seed=seed) for seed in range(3)])
    assert torch.autograd.gradcheck(dropout, [draw(4, 5, seed=seed) for seed in range(2)])


def test_dropped_elements_leave_the_residual() -> None:
    torch.manual_seed(1)
    x, residual = torch.ones(1000), torch.full((1000,), 5.0)
    found = DropoutAdd.apply(x.clone(), residual, 0.25)
    low, high = sorted(set(found.tolist()))
    assert low == 5 and high == pytest.approx(5 + 1 / 0.75)
