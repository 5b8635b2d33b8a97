"""Requests to PCM: knows the model and the values, never audio files or storage."""
