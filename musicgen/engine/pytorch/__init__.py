"""The PyTorch backend: every checkpoint, on processors and GPUs."""
