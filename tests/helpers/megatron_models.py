"""Small models with random weights, and Megatron-DeepSpeed checkpoints of them.

They are written here, not by the code under test. Parts are cut as megatron/mpu/layers.py cuts
them: rows of the embedding, of query_key_value and of dense_h_to_4h with their biases, columns of
the two matrices that feed the residual.
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
    """Large random weights, biases and layernorms too: nothing can be left out or moved unseen."""
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
    divided = {}
    for name, value in layer.items():
        if name.endswith(ROWS):
            divided[name] = value.chunk(tensor, 0)[rank].clone()
        elif name.endswith(COLUMNS):
            divided[name] = value.chunk(tensor, 1)[rank].clone()
        else:
            divided[name] = value.clone()
    return divided


def in_older_order(layers: Layers, config: ModelConfig, tensor: int, version: float) -> Layers:
    """The fused projections' rows as checkpoint versions 0 and 1 stored them, rank by rank."""
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


def as_deepspeedai(layers: Layers, config: ModelConfig, tensor: int, thirds: bool) -> Layers:
    """The layers under deepspeedai's numbers: 1, 2 … L+1, L+2.

    thirds: whether each rank's fused rows are [q|k|v], as its commits since 676a482c have them.
    """
    stored = in_older_order(layers, config, tensor, 0) if thirds else layers
    return dict(enumerate(stored.values(), start=1))


def deepspeedai_args(config: ModelConfig, thirds: bool) -> dict[str, Any]:
    """Arguments that no other fork has."""
    args: dict[str, Any] = {"num_key_value_heads": config.num_attention_heads}
    args |= {"add_position_embedding": True, "normalization": "layernorm", "num_experts": [1]}
    if thirds:
        args["ds_sequence_parallel_fpdt"] = False
    return args


def write_deepspeedai(
    folder: Path,
    config: ModelConfig,
    layers: Layers,
    tensor: int = 1,
    pipeline: int = 1,
    thirds: bool = True,
    **more: Any,
) -> Path:
    """A checkpoint with layer files as deepspeedai's fork writes them."""
    stored = as_deepspeedai(layers, config, tensor, thirds)
    args = deepspeedai_args(config, thirds) | more.pop("args", {})
    more.setdefault("universal_checkpoint_info", {"original_vocab_size": VOCABULARY})
    more.setdefault("checkpoint_info", None)
    return write(folder, config, stored, tensor, pipeline, args=args, **more)


def states(config: ModelConfig, tensor: int = 1, pipeline: int = 1, **more: Any) -> dict[str, Any]:
    """The arguments and counters of a checkpoint."""
    args = asdict(config) | {
        "tensor_model_parallel_size": tensor,
        "pipeline_model_parallel_size": pipeline,
        "make_vocab_size_divisible_by": 64,
        "consumed_train_samples": 70,
        "consumed_valid_samples": 0,
        **more.pop("args", {}),
    }
    sizes = {"padded_vocab_size": config.padded_vocab_size, "original_vocab_size": VOCABULARY}
    return {
        "args": argparse.Namespace(**args),
        "iteration": 7,
        "global_steps": 7,
        "module": None,
        "checkpoint_version": 3.0,
        "mp_world_size": tensor * pipeline,
        "dp_world_size": 1,
        "checkpoint_info": sizes,
        **more,
    }


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
    folder: Path,
    config: ModelConfig,
    layers: Layers,
    tensor: int,
    nested: bool,
    args: dict[str, Any] | None = None,
) -> Path:
    """A checkpoint of a run without pipeline: all weights in the mp_rank files.

    nested: the naming of one fork, nested dictionaries; else the other's, dotted names.
    """
    step = folder / "global_step7"
    step.mkdir(parents=True)
    for rank in range(tensor):
        embedding, encoder = _embedding_and_encoder(layers, rank, tensor)
        module: dict[str, Any] = {}
        if nested:
            split = {name.split(".")[0]: {"weight": value} for name, value in embedding.items()}
            module = {"language_model": {"embedding": split, "encoder": encoder}}
        else:
            for kind, weights_of in (("embedding", embedding), ("encoder", encoder)):
                for name, value in weights_of.items():
                    module[f"language_model.{kind}.{name}"] = value
        path = step / f"mp_rank_{rank:02d}_model_states.pt"
        torch.save(states(config, tensor, module=module, args=args or {}), path)
    return step


def _embedding_and_encoder(
    layers: Layers, rank: int, tensor: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """One rank's parts under the names that Megatron's language model has for them."""
    encoder = {}
    for number, layer in layers.items():
        for name, value in parts(layer, rank, tensor).items():
            if number == max(layers):
                encoder[f"final_layernorm.{name}"] = value
            elif number >= 3:
                encoder[f"layers.{number - 3}.{name}"] = value
    return parts(layers[1], rank, tensor), encoder


def write_partitions(
    folder: Path,
    config: ModelConfig,
    layers: Layers,
    tensor: int,
    pipeline: int,
    data: int,
    args: dict[str, Any] | None = None,
) -> Path:
    """A checkpoint whose weights are in ZeRO's partitions alone.

    Each group is flattened and cut evenly over data ranks.
    """
    step = folder / "global_step7"
    step.mkdir(parents=True)
    blocks = [number for number in layers if 1 < number < max(layers)]
    count = math.ceil(len(blocks) / pipeline)
    for stage in range(pipeline):
        numbers = blocks[stage * count : (stage + 1) * count]
        if stage == pipeline - 1:
            numbers.append(max(layers))
        for rank in range(tensor):
            weights_of = {}
            for number in numbers:
                for name, value in parts(layers[number], rank, tensor).items():
                    weights_of[f"{number}.{name}"] = value
            if stage in (0, pipeline - 1):
                for name, value in parts(layers[1], rank, tensor).items():
                    weights_of[f"tied_modules.embed.{name}"] = value
            states_of = states(config, tensor, pipeline, dp_world_size=data, args=args or {})
            _write_model_rank(step, stage * tensor + rank, weights_of, states_of)
    return step


def _write_model_rank(
    step: Path, rank: int, weights_of: dict[str, torch.Tensor], states_of: dict[str, Any]
) -> None:
    """The files of one model rank: weights with decay are one group, biases and norms another."""
    groups = []
    for dimensions in (2, 1):
        group = {name: value for name, value in weights_of.items() if value.ndim == dimensions}
        if group:
            groups.append(group)
    shapes = [{name: value.shape for name, value in group.items()} for group in groups]
    torch.save(states_of | {"param_shapes": shapes}, step / f"mp_rank_{rank:02d}_model_states.pt")
    data_ranks = states_of["dp_world_size"]
    for data_rank in range(data_ranks):
        cuts = [_partition(group, data_rank, data_ranks) for group in groups]
        optimizer = {
            "single_partition_of_fp32_groups": [flat for flat, _ in cuts],
            "param_slice_mappings": [places for _, places in cuts],
            "zero_stage": 1,
        }
        path = step / f"bf16_zero_pp_rank_{data_rank}_mp_rank_{rank:02d}_optim_states.pt"
        torch.save({"optimizer_state_dict": optimizer}, path)


def _partition(
    group: dict[str, torch.Tensor], data_rank: int, data_ranks: int
) -> tuple[torch.Tensor, dict[str, Any]]:
    """One data rank's cut of a group, and where in it which weight lies."""
    from deepspeed.utils.tensor_fragment import fragment_address  # seconds, which few tests need

    whole = torch.cat([value.float().flatten() for value in group.values()])
    size = math.ceil(len(whole) / data_ranks)
    first = data_rank * size
    end = min(first + size, len(whole))
    places = {}
    position = 0
    for name, value in group.items():
        begin = max(position, first)
        stop = min(position + value.numel(), end)
        if begin < stop:
            places[name] = fragment_address(numel=stop - begin, start=begin - first)
        position += value.numel()
    return whole[first:end].clone(), places


def write_counters(folder: Path, step: int, **arguments: object) -> None:
    """As much of a checkpoint as says how far its run is."""
    (folder / f"global_step{step}").mkdir(parents=True)
    states = {"iteration": step, "args": argparse.Namespace(**arguments), "weight": torch.ones(2)}
    torch.save(states, folder / f"global_step{step}" / "mp_rank_00_model_states.pt")
    (folder / "latest").write_text(f"global_step{step}")
