"""The Hugging Face Hub: find, pull, push, sync, model cards."""
