"""Megatron's GPT: learned positions, pre-layernorm, biases, tanh GELU, tied padded embedding.

Attributes bear Megatron's names, so that a module's state dict is a layer file of a
Megatron-DeepSpeed checkpoint.
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
from encore.model.cpu_kernels import causal_attention, dropout_add
from encore.model.loss import projected_cross_entropy

_FEED_RESIDUAL = ("self_attention.dense.weight", "mlp.dense_4h_to_h.weight")


class SelfAttention(nn.Module):
    """Causal self-attention; the fused projection has query, key and value head by head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.channels = config.kv_channels
        self.dropout = config.attention_dropout
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.attention_size)
        self.dense = nn.Linear(config.attention_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, sequence, hidden) → the same shape."""
        batch, length, _ = x.shape
        fused = self.query_key_value(x).view(batch, length, self.heads, 3, self.channels)
        q, k, v = fused.permute(3, 0, 2, 1, 4)
        if self.training and self.dropout and x.device.type == "cpu":
            shape = (batch * self.heads, length, self.channels)
            context = causal_attention(
                q.reshape(shape), k.reshape(shape), v.reshape(shape), self.dropout
            )
            context = context.view(batch, self.heads, length, self.channels)
        else:
            dropout = self.dropout if self.training else 0.0
            context = functional.scaled_dot_product_attention(
                q, k, v, dropout_p=dropout, is_causal=True
            )
        output: Tensor = self.dense(context.transpose(1, 2).reshape(batch, length, -1))
        return output


class MLP(nn.Module):
    """Two linear maps with a tanh-approximated GELU between."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gelu = "tanh" if config.bias_gelu_fusion else "none"
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.ffn_hidden_size)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, sequence, hidden) → the same shape."""
        wide = functional.gelu(self.dense_h_to_4h(x), approximate=self.gelu)
        output: Tensor = self.dense_4h_to_h(wide)
        return output


class TransformerLayer(nn.Module):
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
            return dropout_add(x, residual, self.dropout)
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
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.num_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, config.layernorm_epsilon)

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """tokens, labels (batch, sequence) → logits (batch, sequence, padded vocabulary).

        With labels: a scalar, the loss.
        """
        x = self.embedding(tokens)
        recomputes = self.config.checkpoint_activations and self.training
        step = self.config.checkpoint_num_layers
        for start in range(0, len(self.layers), step):
            layers = nn.Sequential(*self.layers[start : start + step])
            x = checkpoint(layers, x, use_reentrant=False) if recomputes else layers(x)
        x = self.final_layernorm(x)
        words = self.embedding.word_embeddings.weight
        if labels is None:
            return functional.linear(x, words)
        return projected_cross_entropy(x.flatten(0, 1), words, labels.flatten())

    @classmethod
    def empty(cls, config: ModelConfig) -> "GPT":
        """A model on the CPU whose weights are to be filled in or drawn."""
        # torch's own initialisation would draw, and then be thrown away: seconds for a large model
        with torch.device("meta"):
            model = cls(config)
        return model.to_empty(device="cpu")

    def fill(self, layers: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Copy weights by layer number; raises CheckpointError where they do not fit exactly."""
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
        """Draw weights as Megatron does: matrices from N(0, std), biases 0, layernorm weights 1.

        Matrices that feed the residual have std / √(2 · layers).
        """
        std = self.config.init_method_std
        residual_scale = 1 / math.sqrt(2 * self.config.num_layers)
        for name, parameter in self.named_parameters():
            if name.endswith(_FEED_RESIDUAL):
                nn.init.normal_(parameter, std=std * residual_scale, generator=generator)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=std, generator=generator)
            elif "layernorm.weight" in name:
                nn.init.ones_(parameter)
            else:
                nn.init.zeros_(parameter)

    def layer_modules(self) -> dict[int, nn.Module]:
        """The modules that have weights, under Megatron-DeepSpeed's layer numbers."""
        modules = [self.embedding, *self.layers, self.final_layernorm]
        return dict(zip(layer_numbers(self.config.num_layers), modules, strict=True))
