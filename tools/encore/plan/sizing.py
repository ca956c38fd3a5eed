"""Arithmetic of a run: parameters, FLOPs, steps, memory, checkpoint bytes. Pure functions, no facts of any machine."""

import math
from dataclasses import dataclass

from encore.model.config import ModelConfig


@dataclass(frozen=True)
class Layout:
    """How a model is spread and batched: degrees of parallelism, sequences per device and step."""

    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    micro_batch_size: int
    activation_checkpointing: bool
    bf16: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the peak of a training step."""

    weights_and_gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights_and_gradients + self.optimizer + self.activations


def flops_6nd(parameter_count: int, tokens: int) -> float:
    """The usual estimate 6·N·D (Kaplan et al. 2020, arXiv:2001.08361)."""
    return 6.0 * parameter_count * tokens


def flops_exact(model: ModelConfig, tokens: int, sequence_length: int) -> float:
    """FLOPs of forward and backward over `tokens`: all matrix products, the attention over the full square.

    Source: Narayanan et al. 2021, arXiv:2104.04473, appendix; here with heads × kv_size for the attention's size.
    A recomputed forward (activation checkpointing) is not counted: it is work, but not the model's.
    """
    d, a, f = model.hidden_size, model.attention_size, model.ffn_hidden_size
    weights = model.num_layers * (4 * d * a + 2 * d * f) + model.padded_vocab_size * d
    attention = model.num_layers * 2 * sequence_length * a
    return 3.0 * 2.0 * (weights + attention) * tokens


def train_samples(tokens: int, sequence_length: int) -> int:
    """Sequences that hold `tokens`, rounded to the nearest: 55B → 26,855,469 at 2048, as the paper ran it."""
    return round(tokens / sequence_length)


def checkpoint_bytes(parameter_count: int, bf16: bool) -> int:
    """A checkpoint with optimizer: weights (bf16 or fp32), fp32 master weights and two fp32 Adam moments."""
    return parameter_count * ((2 if bf16 else 4) + 12)


def training_memory(model: ModelConfig, layout: Layout, sequence_length: int) -> Memory:
    """Bytes per device: ZeRO stage 1 states and the activations of one micro-batch per pipeline stage in flight.

    States: bf16 weights and fp32 accumulated gradients, fp32 master weights and Adam moments shared over the data-
    parallel ranks (DeepSpeed's BF16_Optimizer). Activations: Korthikanti et al. 2022 (arXiv:2205.05198), equation 2,
    attention scores kept; with full recomputation only the layers' inputs, plus one layer in full.
    """
    shards = layout.tensor_parallel * layout.pipeline_parallel
    held = math.ceil(model.parameters / shards)
    weights_and_gradients = held * ((2 + 4) if layout.bf16 else (4 + 4))
    optimizer = held * (12 if layout.bf16 else 8) // layout.data_parallel
    return Memory(weights_and_gradients, optimizer, _activations(model, layout, sequence_length))


def _activations(model: ModelConfig, layout: Layout, sequence_length: int) -> int:
    value_bytes = 2 if layout.bf16 else 4
    tokens = sequence_length * layout.micro_batch_size
    hidden = tokens * model.hidden_size * value_bytes
    t = layout.tensor_parallel
    inner = tokens * (4 * model.attention_size + 2 * model.ffn_hidden_size) * value_bytes // t
    scores = 5 * model.num_attention_heads * sequence_length * tokens * value_bytes // (2 * t)
    layer = 5 * hidden + inner + scores
    layers = math.ceil(model.num_layers / layout.pipeline_parallel)
    in_flight = layout.pipeline_parallel
    body = (
        layers * hidden * in_flight + layer
        if layout.activation_checkpointing
        else layers * layer * in_flight
    )
    # logits in the compute type, their fp32 copy and its gradient
    logits = tokens * model.padded_vocab_size // t * (value_bytes + 4 + 4)
    return body + logits
