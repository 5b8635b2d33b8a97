"""Triton kernels for decode steps, each with a twin in plain PyTorch.

`choice` loads those of a step for `MUSICGEN_KERNELS=1`; `bench/kernels.py` compares all with their
twins on a GPU. Importing `attention`, `products` or `sampling` needs Triton; the others do not.
"""
