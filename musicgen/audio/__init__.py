"""PCM to bytes and back. PCM is numpy float32 (samples, channels), nominally in [-1, 1].

No module of this package imports torch, and this file imports nothing.
"""
