"""Lets the Megatron-DeepSpeed forks of 2023 run, unmodified, on today's torch, NumPy and Python.

An image has it in its site-packages, with `encore_compat.pth`, which installs an import hook at
each start of Python. The hook waits until a package `megatron` is imported from a checkout that
`trainers.json`, in the folder above it, lists; then it applies the entries of
`encore_compat.entries`. `python -m encore_compat` prints them with their reasons.
"""
