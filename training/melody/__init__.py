"""Toy melody model for tests: the demo's codec, and a decoder to play the notes of a chroma."""
