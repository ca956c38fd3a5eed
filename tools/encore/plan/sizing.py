"""Arithmetic of a run: FLOPs, samples, memory, checkpoint bytes. It knows no machine."""

import math
from dataclasses import dataclass, field
from typing import Literal

from encore.model.config import ModelConfig
from encore.registry.setting import setting


@dataclass(frozen=True)
class Layout:
    """How a model is spread over devices and a batch over passes.

    tensor × pipeline × data parallel degrees make the number of devices.
    """

    tensor_parallel: int = field(
        metadata=setting(
            "devices that share each matrix",
            origin="derived: the fewest that fit",
            least=1,
            most=1000,
        )
    )
    pipeline_parallel: int = field(
        metadata=setting(
            "stages that layers are divided into", origin="default", least=1, most=1000
        )
    )
    data_parallel: int
    micro_batch_size: int = field(
        metadata=setting(
            "per device and pass",
            unit="samples",
            origin="derived: the most that fit",
            least=1,
            most=1e5,
        )
    )
    activation_checkpointing: bool = field(
        metadata=setting(
            "recompute activations in the backward pass",
            origin="derived: only where nothing fits without",
        )
    )
    precision: Literal["bf16", "fp32"] = field(
        default="bf16",
        metadata=setting("of weights and products", origin="accelerator {accelerator}"),
    )

    @property
    def bf16(self) -> bool:
        """Whether weights and products are bf16."""
        return self.precision == "bf16"


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a training step."""

    weights_and_gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """The sum of the three."""
        return self.weights_and_gradients + self.optimizer + self.activations


def flops_6nd(parameter_count: int, tokens: int) -> float:
    """The usual estimate 6·N·D (Kaplan et al. 2020, arXiv:2001.08361)."""
    return 6.0 * parameter_count * tokens


def flops_exact(model: ModelConfig, tokens: int, sequence_length: int) -> float:
    """FLOPs of forward and backward over `tokens`.

    All matrix products count, attention over the full square. A forward pass that activation
    checkpointing repeats does not count: the device does that work, the model does not need it.
    Source: Narayanan et al. 2021, arXiv:2104.04473, appendix; here the attention's size is
    heads × channels, which need not be the hidden size.
    """
    hidden = model.hidden_size
    attention = model.attention_size
    weights_per_layer = 4 * hidden * attention + 2 * hidden * model.ffn_hidden_size
    scores_per_layer = 2 * sequence_length * attention
    products = model.num_layers * (weights_per_layer + scores_per_layer)
    logits = model.padded_vocab_size * hidden
    # a multiply and an add per product; a forward and twice that backward
    return 3.0 * 2.0 * (products + logits) * tokens


def train_samples(tokens: int, sequence_length: int) -> int:
    """Sequences that hold `tokens`, rounded to the nearest as the paper's runs rounded them.

    55B tokens are 26,855,469 samples of 2048.
    """
    return round(tokens / sequence_length)


def checkpoint_bytes(parameter_count: int, bf16: bool) -> int:
    """A checkpoint with its optimizer: weights, fp32 master weights, two fp32 Adam moments."""
    weight_bytes = 2 if bf16 else 4
    return parameter_count * (weight_bytes + 3 * 4)


def training_memory(model: ModelConfig, layout: Layout, sequence_length: int) -> Memory:
    """Bytes per device at the peak of a step under ZeRO stage 1.

    States: weights and fp32 accumulated gradients; fp32 master weights (bf16 only) and Adam moments
    are shared by the data-parallel ranks (DeepSpeed's BF16_Optimizer). Activations: one micro-batch
    per pipeline stage in flight.
    """
    shards = layout.tensor_parallel * layout.pipeline_parallel
    parameters = math.ceil(model.parameters / shards)
    # fp32 weights are their own master copy
    if layout.bf16:
        weight_and_gradient_bytes = 2 + 4
        optimizer_bytes = 4 + 4 + 4
    else:
        weight_and_gradient_bytes = 4 + 4
        optimizer_bytes = 4 + 4
    return Memory(
        weights_and_gradients=parameters * weight_and_gradient_bytes,
        optimizer=parameters * optimizer_bytes // layout.data_parallel,
        activations=_activation_bytes(model, layout, sequence_length),
    )


def _activation_bytes(model: ModelConfig, layout: Layout, sequence_length: int) -> int:
    """Korthikanti et al. 2022 (arXiv:2205.05198), equation 2, with attention scores kept.

    With full recomputation only each layer's input is kept, plus one layer in full.
    """
    value_bytes = 2 if layout.bf16 else 4
    tensor = layout.tensor_parallel
    tokens = sequence_length * layout.micro_batch_size
    layer_input = tokens * model.hidden_size * value_bytes
    inner_sizes = 4 * model.attention_size + 2 * model.ffn_hidden_size
    # tensor parallelism divides what is inside attention and feed-forward, not their inputs
    inner = tokens * inner_sizes * value_bytes // tensor
    scores = 5 * model.num_attention_heads * sequence_length * tokens * value_bytes // (2 * tensor)
    layer = 5 * layer_input + inner + scores
    layers_per_stage = math.ceil(model.num_layers / layout.pipeline_parallel)
    # a stage holds as many micro-batches as there are stages before it fills
    in_flight = layout.pipeline_parallel
    if layout.activation_checkpointing:
        layers = layers_per_stage * layer_input * in_flight + layer
    else:
        layers = layers_per_stage * layer * in_flight
    # logits in the compute type, their fp32 copy and its gradient
    logits = tokens * model.padded_vocab_size // tensor * (value_bytes + 4 + 4)
    return layers + logits
