"""PCM to bytes and back. PCM is numpy float32 (samples, channels), nominally in [-1, 1].

The modules are leaves: this file imports nothing, and none of them imports torch.
"""
