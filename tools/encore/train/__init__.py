"""The built-in trainer: the same command line, data order, model and checkpoints as Megatron-DeepSpeed."""
