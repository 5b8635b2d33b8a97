"""MusicGen's networks: tensors in, tensors out. Of the project they import only errors."""
