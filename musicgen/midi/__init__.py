"""Transcription of a clip as a MIDI file. Needs the extra `midi` and the model of basic-pitch."""
