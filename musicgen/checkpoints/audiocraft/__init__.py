"""Conversion of audiocraft's checkpoints."""
