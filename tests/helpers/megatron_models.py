"""Small models with random weights, and Megatron-DeepSpeed checkpoints of them made here, not by what is tested.

A checkpoint's parts are cut as megatron/mpu/layers.py cuts them: rows of the embedding, of query_key_value and of
dense_h_to_4h with their biases, columns of the two that feed the residual.
"""

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from encore.checkpoints.layers import LayerSource
from encore.model.config import ModelConfig
from encore.model.gpt import GPT

Layers = dict[int, dict[str, torch.Tensor]]
ROWS = ("word_embeddings.weight", "query_key_value.weight", "query_key_value.bias")
ROWS += ("dense_h_to_4h.weight", "dense_h_to_4h.bias")
COLUMNS = ("self_attention.dense.weight", "mlp.dense_4h_to_h.weight")
SMALL = ModelConfig(
    num_layers=2,
    hidden_size=32,
    num_attention_heads=4,
    kv_channels=8,
    ffn_hidden_size=64,
    max_position_embeddings=24,
    padded_vocab_size=256,
)
VOCABULARY = 200


def weights(
    config: ModelConfig, seed: int = 0, scale: float = 0.5, dtype: torch.dtype = torch.float32
) -> Layers:
    """Large random weights, biases and layernorms too, so that no part can be left out or moved unseen."""
    generator = torch.Generator().manual_seed(seed)
    layers: Layers = {}
    for number, module in GPT.empty(config).layer_modules().items():
        layers[number] = {}
        for name, value in module.state_dict().items():
            drawn = torch.randn(value.shape, generator=generator) * scale
            layers[number][name] = (drawn + ("layernorm.weight" in name or name == "weight")).to(
                dtype
            )
    return layers


def read_all(source: LayerSource) -> Layers:
    """All layers of what was read."""
    return {number: dict(source.layer(number)) for number in source.numbers}


def parts(layer: dict[str, torch.Tensor], rank: int, tensor: int) -> dict[str, torch.Tensor]:
    """One tensor-parallel rank's part of a layer."""

    def part(name: str, value: torch.Tensor) -> torch.Tensor:
        axis = 0 if name.endswith(ROWS) else 1 if name.endswith(COLUMNS) else None
        return (value if axis is None else value.chunk(tensor, axis)[rank]).clone()

    return {name: part(name, value) for name, value in layer.items()}


def in_older_order(layers: Layers, config: ModelConfig, tensor: int, version: float) -> Layers:
    """The fused projections' rows as checkpoint versions 0 and 1 stored them in each rank's part."""
    heads, channels = config.num_attention_heads // tensor, config.kv_channels
    stored: Layers = {}
    for number, layer in layers.items():
        stored[number] = dict(layer)
        for name, value in layer.items():
            if "query_key_value" in name:
                ranks = value.view(tensor, heads, 3, channels, *value.shape[1:])
                moved = ranks.transpose(1, 2) if version == 0 else ranks.transpose(2, 3)
                stored[number][name] = moved.reshape(value.shape)
    return stored


def states(config: ModelConfig, tensor: int = 1, pipeline: int = 1, **more: Any) -> dict[str, Any]:
    """The arguments and counters of a checkpoint."""
    args = asdict(config) | {
        "tensor_model_parallel_size": tensor,
        "pipeline_model_parallel_size": pipeline,
    }
    args |= {
        "make_vocab_size_divisible_by": 64,
        "consumed_train_samples": 70,
        "consumed_valid_samples": 0,
    }
    args |= more.pop("args", {})
    base: dict[str, Any] = {
        "args": argparse.Namespace(**args),
        "iteration": 7,
        "global_steps": 7,
        "module": None,
    }
    base |= {"checkpoint_version": 3.0, "mp_world_size": tensor * pipeline, "dp_world_size": 1}
    base |= {
        "checkpoint_info": {
            "padded_vocab_size": config.padded_vocab_size,
            "original_vocab_size": VOCABULARY,
        }
    }
    return base | more


def write(
    folder: Path,
    config: ModelConfig,
    layers: Layers,
    tensor: int = 1,
    pipeline: int = 1,
    **more: Any,
) -> Path:
    """A checkpoint with layer files."""
    step = folder / "global_step7"
    step.mkdir(parents=True)
    for number, layer in layers.items():
        for rank in range(tensor):
            torch.save(
                parts(layer, rank, tensor),
                step / f"layer_{number:02d}-model_{rank:02d}-model_states.pt",
            )
    for rank in range(tensor * pipeline):
        torch.save(
            states(config, tensor, pipeline, **more), step / f"mp_rank_{rank:02d}_model_states.pt"
        )
    return step


def write_modules(
    folder: Path, config: ModelConfig, layers: Layers, tensor: int, nested: bool
) -> Path:
    """A checkpoint of a run without pipeline: all weights in the mp_rank files, by either of the forks' namings."""
    step = folder / "global_step7"
    step.mkdir(parents=True)
    for rank in range(tensor):
        held = {number: parts(layer, rank, tensor) for number, layer in layers.items()}
        encoder = {
            f"layers.{n - 3}.{name}": v
            for n in held
            for name, v in held[n].items()
            if 3 <= n < max(held)
        }
        encoder |= {f"final_layernorm.{name}": value for name, value in held[max(held)].items()}
        words, positions = held[1]["word_embeddings.weight"], held[1]["position_embeddings.weight"]
        module: dict[str, Any] = {
            f"language_model.encoder.{name}": value for name, value in encoder.items()
        }
        module |= {"language_model.embedding.word_embeddings.weight": words}
        module |= {"language_model.embedding.position_embeddings.weight": positions}
        if nested:
            embedding = {
                "word_embeddings": {"weight": words},
                "position_embeddings": {"weight": positions},
            }
            module = {"language_model": {"embedding": embedding, "encoder": encoder}}
        torch.save(
            states(config, tensor, module=module), step / f"mp_rank_{rank:02d}_model_states.pt"
        )
    return step


def write_partitions(
    folder: Path, config: ModelConfig, layers: Layers, tensor: int, pipeline: int, data: int
) -> Path:
    """A checkpoint whose weights are in ZeRO's partitions alone: each group flattened, cut evenly over data ranks."""
    step = folder / "global_step7"
    step.mkdir(parents=True)
    blocks = [number for number in layers if 3 <= number < max(layers)]
    for stage in range(pipeline):
        per = math.ceil(len(blocks) / pipeline)
        numbers = blocks[stage * per : (stage + 1) * per] + (
            [max(layers)] if stage == pipeline - 1 else []
        )
        for rank in range(tensor):
            named = {
                f"{n}.{name}": v
                for n in numbers
                for name, v in parts(layers[n], rank, tensor).items()
            }
            if stage in (0, pipeline - 1):
                named |= {
                    f"tied_modules.embed.{n}": v for n, v in parts(layers[1], rank, tensor).items()
                }
            _write_rank(
                step,
                stage * tensor + rank,
                named,
                data,
                states(config, tensor, pipeline, dp_world_size=data),
            )
    return step


def _write_rank(
    step: Path, rank: int, named: dict[str, torch.Tensor], data: int, states_of: dict[str, Any]
) -> None:
    from deepspeed.utils.tensor_fragment import fragment_address  # seconds, which few tests need

    decayed = {name: value for name, value in named.items() if value.ndim == 2}
    groups = [decayed, {name: value for name, value in named.items() if value.ndim == 1}]
    groups = [group for group in groups if group]
    shapes = [{name: value.shape for name, value in group.items()} for group in groups]
    torch.save(states_of | {"param_shapes": shapes}, step / f"mp_rank_{rank:02d}_model_states.pt")
    for data_rank in range(data):
        flat, places = [], []
        for group in groups:
            whole = torch.cat([value.float().flatten() for value in group.values()])
            size = math.ceil(len(whole) / data)
            first, end = data_rank * size, min((data_rank + 1) * size, len(whole))
            flat.append(whole[first:end].clone())
            place, at = {}, 0
            for name, value in group.items():
                begin, stop = max(at, first), min(at + value.numel(), end)
                if begin < stop:
                    place[name] = fragment_address(numel=stop - begin, start=begin - first)
                at += value.numel()
            places.append(place)
        held = {
            "single_partition_of_fp32_groups": flat,
            "param_slice_mappings": places,
            "zero_stage": 1,
        }
        path = step / f"bf16_zero_pp_rank_{data_rank}_mp_rank_{rank:02d}_optim_states.pt"
        torch.save({"optimizer_state_dict": held}, path)
