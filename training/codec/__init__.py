"""A small EnCodec of MusicGen's architecture, trained on `training.music`."""
