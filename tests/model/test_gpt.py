"""The model is Megatron's: genuine checkpoints give their logits; fast paths change nothing."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from encore.checkpoints import megatron_reader
from encore.errors import CheckpointError
from encore.model.config import ModelConfig
from encore.model.gpt import GPT
from helpers.examples import examples
from hypothesis import given
from hypothesis import strategies as st

GENUINE = Path(__file__).resolve().parents[1] / "data" / "megatron_tiny"
SMALL = ModelConfig(
    num_layers=3,
    hidden_size=24,
    num_attention_heads=2,
    kv_channels=8,
    ffn_hidden_size=40,
    max_position_embeddings=80,
    padded_vocab_size=128,
)


def build(config: ModelConfig = SMALL, seed: int = 1) -> GPT:
    model = GPT.empty(config)
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def tokens(batch: int = 2, length: int = 70, seed: int = 2) -> torch.Tensor:
    return torch.randint(0, 128, (batch, length + 1), generator=torch.Generator().manual_seed(seed))


def loss(model: GPT, batch: torch.Tensor) -> torch.Tensor:
    return model(batch[:, :-1], batch[:, 1:])


def gradients(model: GPT, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss(model, batch).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("run", ["tp1", "tp2"])
def test_a_genuine_checkpoint_gives_its_logits_and_losses(run: str) -> None:
    step = GENUINE / run / "checkpoint" / "global_step20"
    checkpoint = megatron_reader.read(step)
    model = GPT.empty(checkpoint.config).eval()
    model.fill(checkpoint.weights())
    truth = np.load(GENUINE / run / "logits.npz")
    inputs, labels = torch.from_numpy(truth["tokens"]), torch.from_numpy(truth["labels"])
    with torch.no_grad():
        logits, mean = model(inputs).numpy(), model(inputs, labels).item()
    assert np.abs(logits - truth["logits"]).max() <= 1e-5 * np.abs(truth["logits"]).max()
    assert mean == pytest.approx(truth["loss"].mean(), rel=1e-6)


def test_weights_of_another_shape_are_refused() -> None:
    layers = megatron_reader.read(GENUINE / "tp1" / "checkpoint").weights()
    with pytest.raises(CheckpointError, match="layers"):
        build().fill(layers)
    with pytest.raises(CheckpointError, match=r"layer 1 .*does not fit"):
        build(replace(SMALL, num_layers=2)).fill(layers)


@pytest.mark.parametrize("feature", [{"glu_activation": "swiglu"}, {"embed_layernorm": True}])
def test_a_model_of_another_kind_is_refused(feature: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=r"glu_activation swiglu|embed_layernorm True"):
        ModelConfig.of(vars(SMALL) | feature)


def test_weights_are_drawn_as_megatron_draws_them() -> None:
    model = build(
        replace(SMALL, hidden_size=256, kv_channels=128, ffn_hidden_size=1024, num_layers=2)
    )
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif "layernorm" in name:
            assert (parameter == 1).all(), name
        else:
            scaled = name.endswith(("self_attention.dense.weight", "mlp.dense_4h_to_h.weight"))
            assert parameter.std().item() == pytest.approx(
                0.02 / 2 if scaled else 0.02, rel=0.03
            ), name
    assert loss(build().eval(), tokens()).item() == pytest.approx(math.log(128), rel=0.01)


def test_the_same_seed_draws_the_same_weights() -> None:
    first, second, other = build(seed=1), build(seed=1), build(seed=2)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    assert not torch.equal(
        first.embedding.word_embeddings.weight, other.embedding.word_embeddings.weight
    )


def test_layers_are_numbered_as_in_the_pipeline() -> None:
    model = build()
    assert list(model.layer_modules()) == [1, 3, 4, 5, 7]
    parameters = [p for module in model.layer_modules().values() for p in module.parameters()]
    assert sum(p.numel() for p in parameters) == sum(p.numel() for p in model.parameters())


@examples(20)
@given(position=st.integers(1, 69), seed=st.integers(0, 99))
def test_no_position_sees_what_comes_after(position: int, seed: int) -> None:
    model, batch = build().eval(), tokens(seed=seed)
    changed = batch.clone()
    changed[:, position:] = tokens(seed=seed + 1000)[:, position:]
    with torch.no_grad():
        before, after = model(batch[:, :-1])[:, :position], model(changed[:, :-1])[:, :position]
    assert torch.allclose(before, after, atol=1e-6)


def test_training_with_hardly_any_dropout_is_evaluation() -> None:
    """A probability below the mask's resolution selects the CPU's own attention."""
    model, batch = build(replace(SMALL, attention_dropout=1e-9, hidden_dropout=0.0)), tokens()
    assert loss(model.train(), batch).item() == pytest.approx(
        loss(model.eval(), batch).item(), rel=1e-6
    )
    trained = gradients(model.train(), batch)
    evaluated = gradients(model.eval(), batch)
    for name in trained:
        assert torch.allclose(trained[name], evaluated[name], atol=1e-6), name


def test_dropout_depends_on_the_seed_alone() -> None:
    model, batch = build().train(), tokens()
    values = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        values.append(loss(model, batch).item())
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("run_length", [1, 2, 3])
def test_recomputed_activations_change_nothing(run_length: int) -> None:
    plain, batch = build().train(), tokens()
    recomputing = build(
        replace(SMALL, checkpoint_activations=True, checkpoint_num_layers=run_length)
    ).train()
    torch.manual_seed(3)
    expected = gradients(plain, batch)
    torch.manual_seed(3)
    found = gradients(recomputing, batch)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_unfused_gelu_is_the_exact_one() -> None:
    """Without --bias-gelu-fusion Megatron calls torch's exact GELU."""
    x = torch.linspace(-3, 3, 24)[None]
    for fused, kind in ((True, "tanh"), (False, "none")):
        mlp = build(replace(SMALL, bias_gelu_fusion=fused)).layers[0].mlp
        expected = mlp.dense_4h_to_h(
            torch.nn.functional.gelu(mlp.dense_h_to_4h(x), approximate=kind)
        )
        assert torch.equal(mlp(x), expected)
