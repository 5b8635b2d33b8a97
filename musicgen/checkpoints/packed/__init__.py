"""Packed checkpoints: one file with a manifest, in the layout that the engine runs."""
