"""Megatron-DeepSpeed and transformers checkpoints: read, write, convert, compare, prune."""
