"""Synthetic, licence-free music with its description: seeded, and endless."""
