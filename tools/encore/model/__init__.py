"""Megatron's GPT: its shape (without torch), its modules in torch, kernels for CPUs."""
