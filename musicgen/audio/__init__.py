"""PCM to bytes and back. PCM is numpy float32 (samples, channels), nominally in [-1, 1].

Nothing is imported here, and nothing in this package imports torch: each module is a leaf.
"""
