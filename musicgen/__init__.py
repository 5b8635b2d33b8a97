"""MusicGen (text to music) for production: one predictor, wrapped thinly for every platform.

Nothing is imported here: `import musicgen.request` must not import torch.
"""

# handlers/identity.py tells this package from others of the same name by it.
__title__ = "musicgen-serverless"
__version__ = "0.1.0"
