"""MusicGen's networks: tensors in, tensors out, nothing of ours imported but errors."""
