"""Megatron's GPT: learned positions, pre-layernorm blocks, biases, tanh GELU, tied padded embedding.

Modules bear Megatron's names, so that a module's state dict is a layer file of a Megatron-DeepSpeed checkpoint.
source: TurkuNLP 6732bc9 megatron/model/{transformer,language_model,gpt_model,fused_bias_gelu}.py
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from encore.errors import CheckpointError
from encore.model.config import HINT, ModelConfig, layer_numbers
from encore.model.cpu_kernels import CausalAttention, DropoutAdd
from encore.model.loss import ProjectedCrossEntropy


class SelfAttention(nn.Module):
    """Causal self-attention; the fused projection holds query, key and value of one head side by side."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.channels = config.num_attention_heads, config.kv_channels
        self.dropout = config.attention_dropout
        inner = self.heads * self.channels
        self.query_key_value = nn.Linear(config.hidden_size, 3 * inner)
        self.dense = nn.Linear(inner, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, sequence, hidden) → the same shape."""
        batch, length, _ = x.shape
        fused = self.query_key_value(x).view(batch, length, self.heads, 3, self.channels)
        q, k, v = fused.permute(3, 0, 2, 1, 4)
        if self.training and self.dropout and x.device.type == "cpu":
            rows = (t.reshape(batch * self.heads, length, self.channels) for t in (q, k, v))
            context = CausalAttention.apply(*rows, self.dropout).view(
                batch, self.heads, length, self.channels
            )
        else:
            dropout = self.dropout if self.training else 0.0
            context = functional.scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=True
            )
        return self.dense(context.transpose(1, 2).reshape(batch, length, -1))


class MLP(nn.Module):
    """Two linear maps with a tanh-approximated GELU between."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gelu = "tanh" if config.bias_gelu_fusion else "none"
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.ffn_hidden_size)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, sequence, hidden) → the same shape."""
        return self.dense_4h_to_h(functional.gelu(self.dense_h_to_4h(x), approximate=self.gelu))


class Block(nn.Module):
    """One transformer layer, normalised before each of its two halves."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.hidden_dropout
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layernorm_epsilon)
        self.self_attention = SelfAttention(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, sequence, hidden) → the same shape."""
        x = self._add(self.self_attention(self.input_layernorm(x)), x)
        return self._add(self.mlp(self.post_attention_layernorm(x)), x)

    def _add(self, x: Tensor, residual: Tensor) -> Tensor:
        if self.training and self.dropout and x.device.type == "cpu":
            return DropoutAdd.apply(x, residual, self.dropout)
        return residual + functional.dropout(x, self.dropout, self.training)


class Embedding(nn.Module):
    """Word and position embeddings, added, with dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.dropout = config.hidden_dropout
        self.word_embeddings = nn.Embedding(config.padded_vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (batch, sequence) → (batch, sequence, hidden)."""
        x = self.word_embeddings(tokens) + self.position_embeddings.weight[: tokens.shape[1]]
        return functional.dropout(x, self.dropout, self.training)


class GPT(nn.Module):
    """The whole model: `model(tokens)` gives logits, `model(tokens, labels)` the mean loss."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, config.layernorm_epsilon)

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """tokens, labels (batch, sequence) → logits (batch, sequence, padded vocabulary) or a scalar loss."""
        x = self.embedding(tokens)
        step = self.config.checkpoint_num_layers
        for start in range(0, len(self.layers), step):
            run = nn.Sequential(*self.layers[start : start + step])
            x = checkpoint(run, x, use_reentrant=False) if self._recomputes() else run(x)
        x = self.final_layernorm(x)
        if labels is None:
            return functional.linear(x, self.embedding.word_embeddings.weight)
        return ProjectedCrossEntropy.apply(
            x.flatten(0, 1), self.embedding.word_embeddings.weight, labels.flatten()
        )

    def _recomputes(self) -> bool:
        return self.config.checkpoint_activations and self.training

    @classmethod
    def empty(cls, config: ModelConfig) -> "GPT":
        """A model on the CPU whose weights are yet to be filled in or drawn."""
        with torch.device("meta"):
            model = cls(config)
        return model.to_empty(device="cpu")

    def fill(self, layers: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Take weights by layer number; raises CheckpointError where they do not fit exactly."""
        modules = self.layer_modules()
        if set(layers) != set(modules):
            raise CheckpointError(
                f"the checkpoint has layers {sorted(layers)}, the model {sorted(modules)}", HINT
            )
        for number, module in modules.items():
            try:
                module.load_state_dict(layers[number])
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise CheckpointError(
                    f"layer {number} of the checkpoint does not fit: {reason}", HINT
                ) from None

    def initialise(self, generator: torch.Generator) -> None:
        """Draw weights as Megatron does: N(0, std), for the layers that feed the residual std/√(2·layers); biases 0."""
        std = self.config.init_method_std
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                feeds_residual = name.endswith(
                    ("self_attention.dense.weight", "dense_4h_to_h.weight")
                )
                scale = 1 / math.sqrt(2 * self.config.num_layers) if feeds_residual else 1.0
                nn.init.normal_(parameter, std=std * scale, generator=generator)
            else:
                nn.init.constant_(parameter, 1.0 if "layernorm.weight" in name else 0.0)

    def layer_modules(self) -> dict[int, nn.Module]:
        """The modules that have weights, under Megatron-DeepSpeed's layer numbers."""
        modules = [self.embedding, *self.layers, self.final_layernorm]
        return dict(zip(layer_numbers(self.config.num_layers), modules, strict=True))
