"""Megatron's token data: tokenizers, .bin/.idx pairs, manifests, data paths."""
