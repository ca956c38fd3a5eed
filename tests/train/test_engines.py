"""Both engines step as torch's AdamW does, and resume exactly from a saved state."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from encore.model.config import ModelConfig
from encore.model.gpt import GPT
from encore.train import world
from encore.train.engines import DeepSpeedEngine, Engine, Hyperparameters, TorchEngine
from encore.train.world import World

CONFIG = ModelConfig(2, 16, 2, 8, 32, 32, 128, attention_dropout=0.0, hidden_dropout=0.0)
SETTINGS = Hyperparameters(lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, clip_grad=0.5)


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[World]:
    with world.process_group(None, group_even_alone=True) as group:
        yield group


def model(dtype: torch.dtype = torch.float32) -> GPT:
    built = GPT.empty(CONFIG)
    built.initialise(torch.Generator().manual_seed(1))
    return built.to(dtype).train()


def engine(kind: str, built: GPT, alone: World, settings: Hyperparameters = SETTINGS) -> Engine:
    if kind == "torch":
        return TorchEngine(built, settings, alone)
    configuration = {
        "train_micro_batch_size_per_gpu": 2,
        "train_batch_size": 4,
        "zero_optimization": {"stage": 1},
    }
    configuration |= {"gradient_clipping": settings.clip_grad, "steps_per_print": 10**6}
    configuration |= {"bf16": {"enabled": next(built.parameters()).dtype == torch.bfloat16}}
    return DeepSpeedEngine(built, settings, alone, configuration)


def batches(seed: int) -> list[torch.Tensor]:
    drawn = torch.randint(0, 128, (4, 33), generator=torch.Generator().manual_seed(seed))
    return [drawn[:2], drawn[2:]]


def weights(built: GPT) -> dict[str, torch.Tensor]:
    return {name: p.detach().float().clone() for name, p in built.named_parameters()}


def reference(steps: int) -> tuple[dict[str, torch.Tensor], list[tuple[float, float]]]:
    """Plain torch: one batch of four, clip_grad_norm_, AdamW with two groups."""
    built = model()
    decays = [p for p in built.parameters() if p.ndim == 2]
    others = [p for p in built.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decays, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=1e-2,
        betas=SETTINGS.betas,
    )
    found = []
    for seed in range(steps):
        batch = torch.cat(batches(seed))
        logits = built(batch[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(built.parameters(), 0.5)
        optimizer.step()
        found.append((loss.item(), norm.item()))
    return weights(built), found


@pytest.mark.parametrize("kind", ["torch", "deepspeed"])
def test_a_step_is_adamw_on_the_whole_batch(kind: str, alone: World) -> None:
    expected_weights, expected = reference(5)
    built = model()
    trained = engine(kind, built, alone)
    for seed, (loss, norm) in enumerate(expected):
        found = trained.step(iter(batches(seed)), 2, 1e-2)
        assert found[0].item() == pytest.approx(loss, rel=1e-5) and found[
            1
        ].item() == pytest.approx(norm, rel=1e-4)
    for name, value in weights(built).items():
        # Adam's first steps are ±lr wherever a gradient is nearly zero, whose sign rounding decides
        assert (value - expected_weights[name]).abs().mean() < 1e-5, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["torch", "deepspeed"])
def test_a_restored_state_resumes_bit_for_bit(kind: str, dtype: torch.dtype, alone: World) -> None:
    first = model(dtype)
    trained = engine(kind, first, alone)
    for seed in range(3):
        trained.step(iter(batches(seed)), 2, 1e-2)
    saved = {name: p.detach().clone() for name, p in first.named_parameters()}
    state = torch.utils._pytree.tree_map(
        lambda x: x.clone() if isinstance(x, torch.Tensor) else x, trained.state()
    )
    expected = [trained.step(iter(batches(seed)), 2, 5e-3)[0].item() for seed in (3, 4)]

    second = model(dtype)
    with torch.no_grad():
        for name, parameter in second.named_parameters():
            parameter.copy_(saved[name])
    resumed = engine(kind, second, alone)
    resumed.restore(state)
    assert [resumed.step(iter(batches(seed)), 2, 5e-3)[0].item() for seed in (3, 4)] == expected
    for (name, a), b in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("kind", ["torch", "deepspeed"])
def test_a_rate_of_zero_changes_nothing(kind: str, alone: World) -> None:
    built = model()
    before = weights(built)
    engine(kind, built, alone).step(iter(batches(0)), 2, 0.0)
    assert all(torch.equal(before[name], value) for name, value in weights(built).items())


def test_the_engines_agree_in_bf16(alone: World) -> None:
    found = []
    for kind in ("torch", "deepspeed"):
        trained = engine(kind, model(torch.bfloat16), alone)
        found.append(
            [[x.item() for x in trained.step(iter(batches(seed)), 2, 1e-3)] for seed in range(4)]
        )
    for ours, theirs in zip(*found, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3)


def test_master_weights_keep_what_bf16_cannot(alone: World) -> None:
    """Steps far below bf16's resolution still add up."""
    built = model(torch.bfloat16)
    trained = engine("torch", built, alone, replace(SETTINGS, weight_decay=0.0))
    before = weights(built)
    for _ in range(60):
        trained.step(iter(batches(0)), 2, 2e-5)
    moved = sum((before[name] != value).sum().item() for name, value in weights(built).items())
    assert moved > 1000


def test_biases_and_norms_do_not_decay(alone: World) -> None:
    built = model()
    names = {p: name for name, p in built.named_parameters()}
    decaying = {names[p] for p in built.parameters() if p.ndim == 2}
    assert (
        not any("bias" in name or "layernorm" in name for name in decaying) and len(decaying) == 10
    )


def test_zero_clip_is_none(alone: World) -> None:
    built = model()
    trained = engine("torch", built, alone, replace(SETTINGS, clip_grad=0.0))
    _, norm = trained.step(iter(batches(0)), 2, 1e-2)
    gradients = [p.grad for p in built.parameters()]
    assert torch.linalg.vector_norm(
        torch.cat([g.flatten() for g in gradients])
    ).item() == pytest.approx(norm.item())
