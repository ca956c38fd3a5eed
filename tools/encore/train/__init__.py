"""The built-in trainer: Megatron-DeepSpeed's command line, data order, model and checkpoints."""
