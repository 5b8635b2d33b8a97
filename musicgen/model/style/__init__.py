"""Style conditioning of MusicGen-Style: an excerpt of a recording as states of the decoder."""
