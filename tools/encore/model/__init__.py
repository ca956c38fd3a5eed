"""Megatron's GPT in torch."""
