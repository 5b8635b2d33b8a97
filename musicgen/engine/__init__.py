"""Decoding of jobs to PCM. Depends on the model and the requests, not on audio files or storage."""
