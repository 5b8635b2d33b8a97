"""MusicGen (text to music) for production: one predictor, wrapped thinly for every platform.

Nothing is imported here: `import musicgen.request` must not import torch.
"""

__version__ = "0.1.0"
