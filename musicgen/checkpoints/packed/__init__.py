"""Packed checkpoints: one file with a manifest, in the layout of the engine."""
