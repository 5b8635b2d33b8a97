"""Shared by several test folders: toy checkpoints, and transformers as the oracle."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""
