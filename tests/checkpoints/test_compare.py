"""Both sides compute the same, and the comparison notices what can go wrong."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pretrain_gpt
import pytest
import torch
import transformers
from encore.checkpoints import compare, convert, gpt2_reader, safetensors_shards
from encore.checkpoints.megatron_writer import MegatronTarget
from encore.errors import CheckpointError
from helpers.megatron_models import SMALL, Layers, weights, write
from helpers.trainer_lines import line
from safetensors.torch import load_file, save_file

GENUINE = Path(__file__).parents[1] / "data" / "megatron_tiny"
LARGE = 0.5  # the spread of random weights, 25 times that of a fresh model


def converted(
    folder: Path, layers: Layers, config: object = SMALL, tensor: int = 1
) -> tuple[Path, Path]:
    step = write(folder, config, layers, tensor)
    return step, convert.to_transformers(step, folder / "hf", None, 10**9).path


@pytest.mark.parametrize("run", [pytest.param("tp1", marks=pytest.mark.slow), "tp2"])
def test_a_genuine_checkpoint_gives_its_stored_logits_in_transformers(
    run: str, tmp_path: Path
) -> None:
    done = convert.to_transformers(GENUINE / run / "checkpoint", tmp_path / "hf", None, 100_000)
    model = transformers.GPT2LMHeadModel.from_pretrained(done.path, dtype=torch.float32).eval()
    truth = np.load(GENUINE / run / "logits.npz")
    with torch.no_grad():
        found = model(torch.from_numpy(truth["tokens"])).logits.numpy()
    stored = truth["logits"][..., :5000]
    assert found.shape == stored.shape
    assert np.abs(found - stored).max() <= 1e-5 * np.abs(stored).max()
    assert compare.difference(GENUINE / run / "checkpoint", done.path).same


@pytest.mark.slow
def test_the_built_in_trainers_checkpoint(tmp_path: Path) -> None:
    changes = {
        "train_samples": 16,
        "lr_decay_samples": 16,
        "lr_warmup_samples": 0,
        "save_interval": 2,
    }
    assert pretrain_gpt.main(line(tmp_path, **changes)) == 0
    done = convert.to_transformers(tmp_path / "checkpoint", tmp_path / "hf", None, 10**9)
    found = compare.difference(tmp_path / "checkpoint", done.path)
    assert found.same and found.vocabulary == 5000
    back = convert.to_megatron(done.path, tmp_path / "back", MegatronTarget(2, 1))
    assert compare.difference(tmp_path / "checkpoint", back.path).same


@pytest.mark.slow
def test_the_built_in_trainer_goes_on_from_what_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first losses are the genuine checkpoint's, not those of a fresh model, ln 5120 = 8.54."""
    hf = convert.to_transformers(GENUINE / "tp2" / "checkpoint", tmp_path / "hf", None, 10**9).path
    convert.to_megatron(hf, tmp_path / "converted", MegatronTarget(1, 1))
    convert.reshard(
        GENUINE / "tp2" / "checkpoint", tmp_path / "resharded", MegatronTarget(1, 1), None
    )
    changes = {
        "train_samples": 16,
        "lr_decay_samples": 16,
        "lr_warmup_samples": 0,
        "save": tmp_path / "new",
        "lr": 1e-9,
    }
    changes |= {"min_lr": 0, "finetune": True}
    for source in ("converted", "resharded"):
        assert pretrain_gpt.main(line(tmp_path, **changes, load=tmp_path / source)) == 0
        found = [
            float(text) for text in re.findall(r"lm loss: ([0-9.E+-]+)", capsys.readouterr().out)
        ]
        assert len(found) == 2 and all(loss < 8.2 for loss in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "tensor"),
    [
        ({}, 1),
        ({}, 4),
        ({"bias_gelu_fusion": False}, 2),
        ({"layernorm_epsilon": 1e-2}, 1),
        ({"num_attention_heads": 3}, 1),  # 3 heads of 8 at width 32
        (
            {
                "num_attention_heads": 7,
                "kv_channels": 32,
                "hidden_size": 288,
                "ffn_hidden_size": 1152,
            },
            1,
        ),  # 20M's
    ],
)
def test_large_random_weights_agree(
    changes: dict[str, object], tensor: int, tmp_path: Path
) -> None:
    config = replace(SMALL, **changes)
    scale = LARGE if config.hidden_size == 32 else LARGE / 3
    step, hf = converted(tmp_path, weights(config, scale=scale), config, tensor)
    found = compare.difference(step, hf)
    assert found.same and found.largest_logit > 5, found
    again = compare.difference(
        step, convert.to_megatron(hf, tmp_path / "back", MegatronTarget(1, 1)).path
    )
    assert again.same, again


def swapped(weights_of: dict[str, torch.Tensor], one: str, other: str) -> None:
    weights_of[one], weights_of[other] = weights_of[other], weights_of[one]


def heads_side_by_side(weights_of: dict[str, torch.Tensor]) -> None:
    """Megatron's row order left as it was."""
    name = "transformer.h.1.attn.c_attn.weight"
    rows = weights_of[name].T.reshape(3, 4, 8, 32).transpose(0, 1).reshape(96, 32)
    weights_of[name] = rows.T.contiguous()


def bias_side_by_side(weights_of: dict[str, torch.Tensor]) -> None:
    name = "transformer.h.0.attn.c_attn.bias"
    weights_of[name] = weights_of[name].reshape(3, 4, 8).transpose(0, 1).reshape(96).contiguous()


def heads_reversed(weights_of: dict[str, torch.Tensor]) -> None:
    name = "transformer.h.0.attn.c_proj.weight"
    weights_of[name] = weights_of[name].reshape(4, 8, 32).flip(0).reshape(32, 32).contiguous()


def not_transposed(weights_of: dict[str, torch.Tensor]) -> None:
    name = "transformer.h.0.attn.c_proj.weight"
    weights_of[name] = weights_of[name].T.contiguous()


def words_shifted(weights_of: dict[str, torch.Tensor]) -> None:
    weights_of["transformer.wte.weight"] = weights_of["transformer.wte.weight"].roll(1, 0)


def nudged(weights_of: dict[str, torch.Tensor]) -> None:
    weights_of["transformer.h.1.mlp.c_fc.bias"][7] += 1e-3


MUTATIONS: dict[str, Callable[[dict[str, torch.Tensor]], None]] = {
    "head order": heads_side_by_side,
    "head order of the bias": bias_side_by_side,
    "heads of the projection": heads_reversed,
    "not transposed": not_transposed,
    "words shifted": words_shifted,
    "swapped biases": lambda w: swapped(
        w, "transformer.h.0.attn.c_proj.bias", "transformer.h.0.mlp.c_proj.bias"
    ),
    "swapped layernorms": lambda w: swapped(
        w, "transformer.h.0.ln_1.weight", "transformer.h.0.ln_2.weight"
    ),
    "bias for scale": lambda w: swapped(w, "transformer.ln_f.weight", "transformer.ln_f.bias"),
    "layers exchanged": lambda w: swapped(
        w, "transformer.h.0.mlp.c_fc.weight", "transformer.h.1.mlp.c_fc.weight"
    ),
    "a nudge": nudged,
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_weight_is_noticed(mutation: str, tmp_path: Path) -> None:
    step, hf = converted(tmp_path, weights(SMALL, scale=LARGE))
    held = load_file(hf / "model.safetensors")
    MUTATIONS[mutation](held)
    save_file(held, hf / "model.safetensors", metadata={"format": "pt"})
    assert not compare.difference(step, hf).same


@pytest.mark.parametrize(
    "wrong", [{"activation_function": "gelu"}, {"layer_norm_epsilon": 1e-2}, {"n_head": 8}]
)
def test_a_wrong_configuration_is_noticed(wrong: dict[str, object], tmp_path: Path) -> None:
    """The first is what the original's converter wrote."""
    step, hf = converted(tmp_path, weights(SMALL, scale=LARGE))
    raw = safetensors_shards.read_json(hf / "config.json")
    (hf / "config.json").write_text(json.dumps(raw | wrong))
    assert not compare.difference(step, hf).same


def test_what_is_no_number_is_no_agreement(tmp_path: Path) -> None:
    layers = weights(SMALL)
    layers[6]["bias"][0] = float("nan")
    step, hf = converted(tmp_path, layers)
    assert not compare.difference(step, hf).same


def test_models_of_another_size_are_not_compared(tmp_path: Path) -> None:
    step, _ = converted(tmp_path, weights(SMALL))
    other = replace(SMALL, max_position_embeddings=25)
    with pytest.raises(CheckpointError, match="24 positions"):
        compare.difference(step, write(tmp_path / "other", other, weights(other)))
    fewer = write(
        tmp_path / "fewer", SMALL, weights(SMALL), checkpoint_info={"original_vocab_size": 199}
    )
    with pytest.raises(CheckpointError, match="vocabulary of 200"):
        compare.difference(step, fewer)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu", "gelu_pytorch_tanh"])
@pytest.mark.parametrize("shard", ["20KB", pytest.param("1GB", marks=pytest.mark.slow)])
def test_what_transformers_saved_itself(activation: str, shard: str, tmp_path: Path) -> None:
    config = transformers.GPT2Config(
        n_layer=2,
        n_embd=32,
        n_head=4,
        n_positions=24,
        vocab_size=200,
        activation_function=activation,
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=LARGE)
    model.save_pretrained(tmp_path / "hf", max_shard_size=shard)
    done = convert.to_megatron(tmp_path / "hf", tmp_path / "out", MegatronTarget(4, 2))
    assert compare.difference(tmp_path / "hf", done.path).same
    assert any("--no-bias-gelu-fusion" in note for note in done.notes) == (activation == "gelu")
    again = convert.to_transformers(done.path, tmp_path / "again", None, 10**9)
    assert compare.difference(tmp_path / "hf", again.path).greatest < 1e-4


@pytest.mark.slow
def test_transformers_itself_reads_the_dead_heads(tmp_path: Path) -> None:
    config = replace(SMALL, num_attention_heads=3)
    _, hf = converted(tmp_path, weights(config), config)
    model, info = transformers.GPT2LMHeadModel.from_pretrained(hf, output_loading_info=True)
    assert model.config.n_head == 4 and getattr(model.config, gpt2_reader.LIVE_HEADS) == 3
    assert not info["missing_keys"] and not info["unexpected_keys"]
