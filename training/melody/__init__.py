"""A melody model at toy size, for the test that melodies are followed: the demo's codec, and a
decoder that learns to play the notes whose chroma it is given."""
