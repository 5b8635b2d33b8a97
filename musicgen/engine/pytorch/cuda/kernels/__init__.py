"""Triton kernels for decode steps, each with a twin in plain PyTorch.

No step uses them yet: `bench/kernels.py` compares them with their twins on a GPU. Importing
`attention` or `products` needs Triton; `twins` does not.
"""
