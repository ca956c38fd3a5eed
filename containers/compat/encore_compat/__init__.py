"""What lets the Megatron-DeepSpeed forks of 2023 run, unmodified, on today's torch, NumPy, Python and DeepSpeed.

Lies in an image's site-packages with `encore_compat.pth`, which installs an import hook at each start of Python. The
hook does nothing until a package `megatron` is imported from a checkout that `trainers.json`, in the folder above it,
names; then it applies the entries of `encore_compat.entries`. `python -m encore_compat` lists them with their reasons.
"""
